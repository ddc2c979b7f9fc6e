//! The link against a real Mosquitto, or against a broker of a few lines where a broker must misbehave.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use securemqtt_core::Qos;
use securemqtt_core::topic::CONTROL_PREFIX;
use securemqtt_core::wire::Kind;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use super::*;

const COUNT: u32 = 3000;
/// Longer than anything takes that works.
const PATIENCE: Duration = Duration::from_secs(20);

struct Broker {
    child: Child,
    port: u16,
    directory: tempfile::TempDir,
}

impl Broker {
    /// Mosquitto on a free port with these extra lines, or `None` where it is not installed.
    fn start(lines: &str) -> Option<Self> {
        if !Path::new("/usr/sbin/mosquitto").exists() {
            return None;
        }
        let port = free_port();
        let directory = tempfile::tempdir().unwrap();
        let child = spawn(directory.path(), port, lines);
        Some(Self { child, port, directory })
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn restart(&mut self, lines: &str) {
        self.child = spawn(self.directory.path(), self.port, lines);
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(directory: &Path, port: u16, lines: &str) -> Child {
    let file = directory.join("mosquitto.conf");
    let text = format!("listener {port} 127.0.0.1\nallow_anonymous true\nuser root\nmax_queued_messages 0\n{lines}\n");
    std::fs::write(&file, text).unwrap();
    let mut command = Command::new("/usr/sbin/mosquitto");
    command.arg("-c").arg(file).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn options(port: u16, id: &str) -> BrokerOptions {
    let address = BrokerAddress::Tcp { host: "127.0.0.1".into(), port, tls: false };
    let mut options = BrokerOptions::new(address, id);
    options.retry.max_delay = Duration::from_millis(300);
    options
}

/// The first event that `wanted` takes.
async fn until<T>(events: &mut LinkEvents, mut wanted: impl FnMut(LinkEvent) -> Option<T>) -> T {
    let mut last = String::new();
    let found = async {
        loop {
            let event = events.next().await.unwrap_or_else(|| panic!("the link ended: {last}"));
            last = format!("{event:?}");
            if let Some(found) = wanted(event) {
                return found;
            }
        }
    };
    timeout(PATIENCE, found).await.unwrap()
}

async fn connected(events: &mut LinkEvents) -> bool {
    until(
        events,
        |event| if let LinkEvent::Connected { session_present } = event { Some(session_present) } else { None },
    )
    .await
}

async fn message(events: &mut LinkEvents) -> Message {
    until(events, |event| if let LinkEvent::Message(message) = event { Some(message) } else { None }).await
}

async fn failure(events: &mut LinkEvents) -> LinkError {
    until(events, |event| if let LinkEvent::Failed(error) = event { Some(error) } else { None }).await
}

async fn subscriber(port: u16, version: MqttVersion) -> (Link, LinkEvents) {
    let (link, mut events) = Link::start(BrokerOptions { version, ..options(port, "reader") }).unwrap();
    connected(&mut events).await;
    link.subscribe(vec![("t/#".into(), Qos::AtLeastOnce)]).unwrap();
    until(&mut events, |event| matches!(event, LinkEvent::Subscribed { .. }).then_some(())).await;
    (link, events)
}

#[tokio::test]
async fn control_messages_expire_at_the_broker_and_keys_do_not() {
    let Some(broker) = Broker::start("") else { return };
    let (link, mut events) = Link::start(options(broker.port, "writer")).unwrap();
    // The listener does not try twice.
    connected(&mut events).await;
    let mut listener = Command::new("mosquitto_sub");
    let port = broker.port.to_string();
    listener.args(["-V", "5", "-p", &port, "-t", "#", "-F", "%t %E", "-C", "4", "-W", "10"]);
    let Ok(listener) = listener.stdout(Stdio::piped()).spawn() else { return };
    let control = |name: &str| format!("{CONTROL_PREFIX}{}/{name}", "0".repeat(32));
    // Retained, so that it does not matter who is there first.
    let messages = [
        (control("hello"), Kind::Hello),
        (control("in"), Kind::Ack),
        (control("keys"), Kind::Keys),
        ("t".into(), Kind::Frame),
    ];
    for (topic, kind) in &messages {
        link.publish(topic.as_str(), vec![kind.type_byte()], Qos::AtLeastOnce, true).await.unwrap();
    }
    let heard = tokio::task::spawn_blocking(|| listener.wait_with_output().unwrap()).await.unwrap();
    let heard = String::from_utf8(heard.stdout).unwrap();
    let expiry = |topic: &str| heard.lines().find_map(|line| line.strip_prefix(topic)?.trim().parse::<u32>().ok());
    // Brokers count down from the moment that they got it.
    assert!(expiry(&messages[0].0).is_some_and(|left| (2_500_000..=2_592_000).contains(&left)), "{heard}");
    assert!(expiry(&messages[1].0).is_some_and(|left| (86_000..=86_400).contains(&left)), "{heard}");
    assert_eq!((expiry(&messages[2].0), expiry(&messages[3].0)), (None, None), "{heard}");
    link.disconnect().await;
}

async fn thousands_arrive_in_order(version: MqttVersion) {
    let Some(broker) = Broker::start("") else { return };
    let (reader, mut inbox) = subscriber(broker.port, version).await;
    let (writer, _events) = Link::start(BrokerOptions { version, ..options(broker.port, "writer") }).unwrap();
    let sending = tokio::spawn(async move {
        for number in 0..COUNT {
            writer.publish("t/1", number.to_be_bytes().to_vec(), Qos::AtLeastOnce, false).await.unwrap();
        }
        assert!(writer.drain(PATIENCE).await);
        writer.disconnect().await;
    });
    for number in 0..COUNT {
        let message = message(&mut inbox).await;
        assert_eq!(&message.payload[..], number.to_be_bytes());
        reader.ack(message.ack);
    }
    timeout(PATIENCE, sending).await.unwrap().unwrap();
    reader.disconnect().await;
}

#[tokio::test]
async fn thousands_arrive_in_order_over_mqtt_5() {
    thousands_arrive_in_order(MqttVersion::V5).await;
}

#[tokio::test]
async fn thousands_arrive_in_order_over_mqtt_3() {
    thousands_arrive_in_order(MqttVersion::V311).await;
}

/// What the broker kept for us works after a restart of the process too: it delivers, and takes new work.
async fn a_session_that_only_the_broker_kept(version: MqttVersion) {
    let Some(broker) = Broker::start("") else { return };
    let (reader, mut inbox) = subscriber(broker.port, version).await;
    reader.publish("t/0", "first", Qos::AtLeastOnce, false).await.unwrap();
    let first = message(&mut inbox).await;
    reader.disconnect().await;
    drop((reader, inbox));

    let (again, mut inbox) = Link::start(BrokerOptions { version, ..options(broker.port, "reader") }).unwrap();
    assert!(connected(&mut inbox).await, "the session is there");
    // Not acknowledged, so it comes again; a token of another connection changes nothing.
    let redelivered = message(&mut inbox).await;
    assert!(redelivered.dup);
    assert_eq!(redelivered.payload, first.payload);
    again.ack(redelivered.ack);
    again.publish("t/0", "second", Qos::AtLeastOnce, false).await.unwrap();
    let second = message(&mut inbox).await;
    assert_eq!(&second.payload[..], b"second");
    again.ack(second.ack);
    assert!(again.drain(PATIENCE).await);
    again.subscribe(vec![("u".into(), Qos::AtLeastOnce)]).unwrap();
    until(&mut inbox, |event| matches!(event, LinkEvent::Subscribed { .. }).then_some(())).await;
    again.disconnect().await;
}

#[tokio::test]
async fn a_session_that_only_the_broker_kept_over_mqtt_5() {
    a_session_that_only_the_broker_kept(MqttVersion::V5).await;
}

#[tokio::test]
async fn a_session_that_only_the_broker_kept_over_mqtt_3() {
    a_session_that_only_the_broker_kept(MqttVersion::V311).await;
}

#[tokio::test]
async fn a_publish_before_the_broker_is_up_waits() {
    let port = free_port();
    let (link, mut events) = Link::start(options(port, "early")).unwrap();
    link.publish("t/1", "early", Qos::AtLeastOnce, true).await.unwrap();
    until(&mut events, |event| matches!(event, LinkEvent::Disconnected { .. }).then_some(())).await;
    assert!(!link.drain(Duration::from_millis(50)).await);
    let Some(mut broker) = Broker::start("") else { return };
    broker.kill();
    broker.port = port;
    broker.restart("");
    assert!(link.drain(PATIENCE).await);
    link.disconnect().await;
}

/// A broker of a few lines: takes CONNECT, answers CONNACK, reads what comes, and acknowledges only if told to.
async fn accept(listener: &tokio::net::TcpListener) -> tokio::net::TcpStream {
    let (mut stream, _) = timeout(PATIENCE, listener.accept()).await.unwrap().unwrap();
    let mut connect = [0; 1024];
    assert!(stream.read(&mut connect).await.unwrap() > 0);
    stream.write_all(&[0x20, 3, 0, 0, 0]).await.unwrap();
    stream
}

/// The payload's last byte and the packet identifier of each publish read within a moment.
async fn publishes(stream: &mut tokio::net::TcpStream, count: usize) -> Vec<(u8, u16)> {
    // fixed header 2, topic 2 + 1, identifier 2, properties 1, payload 1
    let mut found = Vec::new();
    while found.len() < count {
        let mut packet = [0; 9];
        timeout(PATIENCE, stream.read_exact(&mut packet)).await.unwrap().unwrap();
        assert_eq!(packet[0] & 0xf6, 0x32);
        found.push((packet[8], u16::from_be_bytes([packet[5], packet[6]])));
    }
    found
}

#[tokio::test]
async fn unacknowledged_publishes_are_sent_again_though_the_broker_forgot_the_session() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (link, mut events) = Link::start(options(listener.local_addr().unwrap().port(), "again")).unwrap();
    let mut first = accept(&listener).await;
    for number in 0..5 {
        link.publish("t", vec![number], Qos::AtLeastOnce, false).await.unwrap();
    }
    let sent = publishes(&mut first, 5).await;
    // The second is acknowledged, out of order as it is.
    let [high, low] = sent[1].1.to_be_bytes();
    first.write_all(&[0x40, 2, high, low]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    drop(first);
    connected(&mut events).await;

    let mut second = accept(&listener).await;
    assert!(!connected(&mut events).await, "no session");
    let again = publishes(&mut second, 4).await;
    assert_eq!(again.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [0, 2, 3, 4]);
    assert!(!link.drain(Duration::from_millis(50)).await);
    for (_, id) in again {
        let [high, low] = id.to_be_bytes();
        second.write_all(&[0x40, 2, high, low]).await.unwrap();
    }
    assert!(link.drain(PATIENCE).await);
}

#[tokio::test]
async fn a_late_acknowledgement_says_nothing_on_the_next_connection() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (link, mut events) = Link::start(options(listener.local_addr().unwrap().port(), "late")).unwrap();
    let publish = [0x32, 7, 0, 1, b't', 0, 9, 0, b'x'];
    let mut first = accept(&listener).await;
    first.write_all(&publish).await.unwrap();
    let stale = message(&mut events).await;
    drop(first);
    let mut second = accept(&listener).await;
    connected(&mut events).await;
    second.write_all(&publish).await.unwrap();
    let fresh = message(&mut events).await;
    assert_ne!(stale.ack, fresh.ack);
    link.ack(stale.ack);
    let mut byte = [0; 1];
    assert!(timeout(Duration::from_millis(200), second.read(&mut byte)).await.is_err(), "nothing is acknowledged");
    link.ack(fresh.ack);
    let mut puback = [0; 4];
    timeout(PATIENCE, second.read_exact(&mut puback)).await.unwrap().unwrap();
    assert_eq!(puback, [0x40, 2, 0, 9]);
}

#[tokio::test]
async fn subscriptions_go_out_before_later_publishes() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (link, _events) = Link::start(options(listener.local_addr().unwrap().port(), "order")).unwrap();
    link.subscribe(vec![("answers".into(), Qos::AtLeastOnce)]).unwrap();
    link.publish("t", "?", Qos::AtLeastOnce, false).await.unwrap();
    let mut stream = accept(&listener).await;
    let mut first = [0; 1];
    timeout(PATIENCE, stream.read_exact(&mut first)).await.unwrap().unwrap();
    assert_eq!(first[0], 0x82, "SUBSCRIBE");
}

#[tokio::test]
async fn a_broker_that_always_hangs_up_is_left_with_a_hint() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (_link, mut events) = Link::start(options(listener.local_addr().unwrap().port(), "twin")).unwrap();
    let broker = tokio::spawn(async move {
        loop {
            drop(accept(&listener).await);
        }
    });
    let error = failure(&mut events).await;
    broker.abort();
    assert_eq!(error.kind(), LinkErrorKind::TakenOver);
    assert!(error.to_string().contains("another client use"), "{error}");
}

#[tokio::test]
async fn a_publish_that_ends_every_connection_is_given_up_and_the_others_go() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (link, mut events) = Link::start(options(listener.local_addr().unwrap().port(), "poison")).unwrap();
    for number in 0..5 {
        link.publish("t", vec![number], Qos::AtLeastOnce, false).await.unwrap();
    }
    // It acknowledges everything but the third, over which it hangs up.
    let broker = tokio::spawn(async move {
        let mut taken = Vec::new();
        loop {
            let mut stream = accept(&listener).await;
            let mut packet = [0; 9];
            while stream.read_exact(&mut packet).await.is_ok() && packet[8] != 2 {
                taken.push(packet[8]);
                stream.write_all(&[0x40, 2, packet[5], packet[6]]).await.unwrap();
                if taken.ends_with(&[4]) {
                    return (taken, stream);
                }
            }
        }
    });
    let refused = until(&mut events, |event| match event {
        LinkEvent::PublishRefused { payload, reason, .. } => Some((payload, reason)),
        _ => None,
    });
    let (payload, reason) = refused.await;
    assert_eq!(payload.as_ref(), [2]);
    assert!(reason.contains("closed the connection"), "{reason}");
    assert!(link.drain(PATIENCE).await);
    let (taken, _stream) = timeout(PATIENCE, broker).await.unwrap().unwrap();
    assert!(taken.ends_with(&[3, 4]), "{taken:?}");
}

#[tokio::test]
async fn a_network_that_comes_and_goes_is_no_twin() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (_link, mut events) = Link::start(options(listener.local_addr().unwrap().port(), "flapping")).unwrap();
    // One in six outlives a second: that is enough to go on for ever.
    for _ in 0..2 {
        for _ in 0..5 {
            drop(accept(&listener).await);
        }
        let longer = accept(&listener).await;
        tokio::time::sleep(Duration::from_millis(1100)).await;
        drop(longer);
    }
    for _ in 0..12 {
        connected(&mut events).await;
    }
    let _last = accept(&listener).await;
    connected(&mut events).await;
}

#[tokio::test]
async fn of_two_with_one_id_one_gives_up() {
    let Some(broker) = Broker::start("") else { return };
    // A broker of MQTT 3.1.1 gives no reason: it is found in how the two put each other out, whatever the longest delay.
    for version in [MqttVersion::V5, MqttVersion::V311] {
        let retry = RetryPolicy::default();
        let twin = || Link::start(BrokerOptions { version, retry, ..options(broker.port, "twin") }).unwrap();
        let (_one, mut one_events) = twin();
        let (_two, mut two_events) = twin();
        let (error, mut survivor) = tokio::select! {
            error = failure(&mut one_events) => (error, two_events),
            error = failure(&mut two_events) => (error, one_events),
        };
        assert_eq!(error.kind(), LinkErrorKind::TakenOver, "{error}");
        let gone = timeout(Duration::from_secs(1), failure(&mut survivor)).await;
        assert!(gone.is_err(), "the other goes on");
    }
}

#[tokio::test]
async fn publishing_without_reading_does_not_hang() {
    let Some(broker) = Broker::start("") else { return };
    let (link, mut events) = Link::start(options(broker.port, "deaf")).unwrap();
    link.subscribe(vec![("t/#".into(), Qos::AtMostOnce)]).unwrap();
    for _ in 0..5000 {
        timeout(PATIENCE, link.publish("t/1", "x", Qos::AtLeastOnce, false)).await.unwrap().unwrap();
    }
    assert!(link.drain(PATIENCE).await);
    connected(&mut events).await;
}

#[tokio::test]
async fn over_a_unix_socket_and_web_socket() {
    let directory = tempfile::tempdir().unwrap();
    let (socket, web) = (directory.path().join("broker.sock"), free_port());
    let lines =
        format!("listener 0 {}\nlistener {web} 127.0.0.1\nprotocol websockets\nsocket_domain ipv4", socket.display());
    let Some(_broker) = Broker::start(&lines) else { return };
    for url in [format!("unix://{}", socket.display()), format!("ws://localhost:{web}/mqtt")] {
        for version in [MqttVersion::V5, MqttVersion::V311] {
            let address = url.parse::<BrokerUrl>().unwrap().address;
            let (link, mut events) = Link::start(BrokerOptions { address, version, ..options(0, "socket") }).unwrap();
            connected(&mut events).await;
            link.publish("t", "x", Qos::AtLeastOnce, false).await.unwrap();
            assert!(link.drain(PATIENCE).await);
            link.disconnect().await;
        }
    }
}

/// A certification authority and what it signed, as PEM files.
fn certificates(directory: &Path) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
    // OpenSSL takes a certificate that is named as its issuer for self-signed.
    authority.distinguished_name.push(rcgen::DnType::CommonName, "authority");
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    std::fs::write(directory.join("ca.pem"), authority.self_signed(&key).unwrap().pem()).unwrap();
    let issuer = rcgen::Issuer::new(authority, key);
    for name in ["server", "client"] {
        let key = rcgen::KeyPair::generate().unwrap();
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), name.to_owned()];
        let certificate = rcgen::CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
        std::fs::write(directory.join(format!("{name}.pem")), certificate.pem()).unwrap();
        std::fs::write(directory.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }
}

#[tokio::test]
async fn tls_trusts_whom_it_is_told_to() {
    let directory = tempfile::tempdir().unwrap();
    certificates(directory.path());
    let file = |name: &str| directory.path().join(name);
    let (open, strict) = (free_port(), free_port());
    let listener = |port: u16, required: bool| {
        format!(
            "listener {port} 127.0.0.1\ncafile {}\ncertfile {}\nkeyfile {}\nrequire_certificate {required}",
            file("ca.pem").display(),
            file("server.pem").display(),
            file("server.key").display()
        )
    };
    let Some(_broker) = Broker::start(&format!("{}\n{}", listener(open, false), listener(strict, true))) else {
        return;
    };
    let mut clients = 0;
    let mut tls = |port: u16, tls: TlsOptions| {
        clients += 1;
        let address = BrokerAddress::Tcp { host: "127.0.0.1".into(), port, tls: true };
        Link::start(BrokerOptions { address, tls, ..options(port, &format!("tls{clients}")) }).unwrap()
    };
    let cafile = Some(file("ca.pem"));

    // The operating system has never heard of this authority.
    let (_link, mut events) = tls(open, TlsOptions::default());
    let error = failure(&mut events).await;
    assert_eq!(error.kind(), LinkErrorKind::Credentials, "{error}");
    assert!(error.to_string().contains("--cafile"), "{error}");

    let (_link, mut events) = tls(open, TlsOptions { cafile: cafile.clone(), ..TlsOptions::default() });
    connected(&mut events).await;
    let (_link, mut events) = tls(open, TlsOptions { capath: Some(directory.path().into()), ..TlsOptions::default() });
    connected(&mut events).await;
    let (_link, mut events) = tls(open, TlsOptions { insecure: true, ..TlsOptions::default() });
    connected(&mut events).await;

    let (_link, mut events) = tls(strict, TlsOptions { cafile: cafile.clone(), ..TlsOptions::default() });
    let error = failure(&mut events).await;
    assert_eq!(error.kind(), LinkErrorKind::Credentials, "{error}");
    assert!(error.to_string().contains("--cert"), "{error}");
    let (cert, key) = (Some(file("client.pem")), Some(file("client.key")));
    let (_link, mut events) = tls(strict, TlsOptions { cafile, cert, key, ..TlsOptions::default() });
    connected(&mut events).await;
}

#[tokio::test]
async fn a_wrong_password_is_final() {
    let Some(mut broker) = Broker::start("") else { return };
    broker.kill();
    let passwords = broker.directory.path().join("passwords");
    std::fs::write(&passwords, "").unwrap();
    broker.restart(&format!("allow_anonymous false\npassword_file {}", passwords.display()));
    for version in [MqttVersion::V5, MqttVersion::V311] {
        let mut wrong = BrokerOptions { version, ..options(broker.port, "who") };
        wrong.username = Some("alice".into());
        wrong.password = Some(Password::new("guess"));
        let (_link, mut events) = Link::start(wrong).unwrap();
        let error = failure(&mut events).await;
        assert_eq!(error.kind(), LinkErrorKind::Credentials, "{error}");
        assert!(!error.to_string().contains("guess"));
    }
}

#[tokio::test]
async fn without_retry_the_first_failure_is_final() {
    let mut once = options(free_port(), "once");
    once.retry.no_retry = true;
    let (link, mut events) = Link::start(once).unwrap();
    let error = failure(&mut events).await;
    assert_eq!(error.kind(), LinkErrorKind::Unreachable);
    assert!(error.to_string().contains("refused"), "{error}");
    assert!(events.next().await.is_none());
    let told = link.publish("t", "", Qos::AtLeastOnce, false).await.unwrap_err();
    assert_eq!(told.to_string(), error.to_string(), "whoever publishes is told why, too");
    link.disconnect().await;
}

#[tokio::test]
async fn one_message_too_large_stops_nothing_else() {
    let Some(broker) = Broker::start("max_packet_size 1000") else { return };
    let (link, mut events) = Link::start(options(broker.port, "large")).unwrap();
    connected(&mut events).await;
    let error = link.publish("t/1", vec![0; 1000], Qos::AtLeastOnce, false).await.unwrap_err();
    assert_eq!(error.kind(), LinkErrorKind::Message, "{error}");
    link.publish("t/1", vec![0; 900], Qos::AtLeastOnce, false).await.unwrap();
    assert!(link.drain(PATIENCE).await);
}

#[tokio::test]
async fn a_cafile_that_is_not_there_is_a_configuration_error() {
    let mut tls = options(1, "tls");
    tls.address = BrokerAddress::Tcp { host: "localhost".into(), port: 1, tls: true };
    tls.tls.cafile = Some("/nonexistent/ca.pem".into());
    let error = Link::start(tls).unwrap_err();
    assert_eq!(error.kind(), LinkErrorKind::Config);
    assert!(error.to_string().contains("/nonexistent/ca.pem"), "{error}");
}
