use std::fs;
use std::path::Path;

use crate::broker::{Broker, HOST, Setup, example_tls};
use crate::parties::{Party, RAW, introduced, reading};
use crate::process::{PATIENCE, Program};
use crate::tls::Authority;

/// One reading from the one to the other.
fn arrives(publisher: Program, subscriber: Program) {
    let mut subscriber = subscriber.args(RAW).args(["-C", "1"]).start();
    let mut publisher = publisher.args(["-m", &reading(1)]).start();
    assert_eq!(subscriber.wait_exit(PATIENCE), 0, "{}", publisher.output());
    assert_eq!(publisher.wait_exit(PATIENCE), 0);
    assert_eq!(subscriber.stdout(), [reading(1)]);
}

/// The same, both with the same broker flags.
fn arrives_with(flags: &[&str]) {
    let (publisher, subscriber) = introduced();
    arrives(publisher.program().args(flags), subscriber.program().args(flags));
}

/// Two tests from one: over MQTT 5 and over MQTT 3.1.1.
fn arrives_with_both_versions(flags: &[&str]) {
    for version in ["5", "311"] {
        arrives_with(&[flags, &["-V", version]].concat());
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn mqtt_5_and_3_1_1_and_one_of_each() {
    let broker = Broker::start();
    let port = broker.port().to_string();
    arrives_with_both_versions(&["-h", HOST, "-p", &port]);
    let (publisher, subscriber) = introduced();
    arrives(publisher.at(&broker).args(["-V", "311"]), subscriber.at(&broker));
    arrives(publisher.at(&broker), subscriber.at(&broker).args(["-V", "311"]));
}

#[test]
fn quality_of_service_0() {
    let broker = Broker::start();
    let (publisher, subscriber) = introduced();
    let mut reader = subscriber.at(&broker).args(["-q", "0", "-F", "%q %p", "-C", "1"]).start();
    let mut writer = publisher.at(&broker).args(["-q", "0", "-m", "1"]).start();
    assert_eq!((reader.wait_exit(PATIENCE), writer.wait_exit(PATIENCE)), (0, 0), "{}", writer.output());
    assert_eq!(reader.stdout(), ["0 1"]);
}

#[test]
fn user_and_password_from_a_flag_a_file_a_url_and_the_environment() {
    let accounts = [("ward", "s3cret pass"), ("desk", "p@ss")];
    let Some(broker) = Setup::new().passwords(&accounts).start() else { return };
    let (publisher, subscriber) = introduced();
    let file = publisher.state().join("password");
    fs::write(&file, "s3cret pass\n").unwrap();
    let port = broker.port();
    let writer = publisher.at(&broker).args(["-u", "ward", "--password-file", text(&file)]);
    let reader = subscriber.program().args(["-b", &format!("mqtt://desk:p%40ss@{HOST}:{port}")]);
    arrives(writer, reader);
    let writer = publisher.at(&broker).args(["-u", "ward"]).env("SECUREMQTT_PASSWORD", "s3cret pass");
    let reader = subscriber.at(&broker).args(["-u", "desk", "-P", "p@ss"]);
    arrives(writer, reader);
}

#[test]
fn tls_with_a_private_authority() {
    let authority = Authority::new("ours");
    let Some(broker) = Setup::new().tls(&authority).start() else { return };
    let (port, ca) = (broker.tls_port(), text(authority.certificate()));
    arrives_with_both_versions(&["-b", &format!("mqtts://localhost:{port}"), "--cafile", ca]);
    // Mosquitto's way of asking for TLS, and an address in place of a name.
    arrives_with(&["-h", HOST, "-p", &port.to_string(), "--cafile", ca]);
}

#[test]
fn an_insecure_connection_to_an_unknown_broker_warns_and_works() {
    let authority = Authority::new("unknown");
    let Some(broker) = Setup::new().tls(&authority).start() else { return };
    let url = format!("mqtts://localhost:{}", broker.tls_port());
    let (publisher, subscriber) = introduced();
    let flags = ["-b", &url, "--insecure"];
    let mut reader = subscriber.program().args(flags).args(["-C", "1"]).start();
    let mut writer = publisher.program().args(flags).args(["-m", "1"]).start();
    assert_eq!((reader.wait_exit(PATIENCE), writer.wait_exit(PATIENCE)), (0, 0), "{}", writer.output());
    for running in [reader, writer] {
        assert!(running.stderr().iter().any(|line| line.contains("insecure")), "{}", running.output());
    }
}

#[test]
fn client_certificates() {
    let authority = Authority::new("ours");
    let Some(broker) = Setup::new().tls_with_client_certificates(&authority).start() else { return };
    let url = format!("mqtts://localhost:{}", broker.tls_port());
    let (publisher, subscriber) = introduced();
    let with = |party: &Party| {
        let files = authority.client(&party.name);
        let (certificate, key) = (text(&files.certificate), text(&files.key));
        let flags = ["-b", &url, "--cafile", text(authority.certificate()), "--cert", certificate, "--key", key];
        party.program().args(flags)
    };
    arrives(with(&publisher), with(&subscriber));
}

#[test]
fn websocket() {
    let Some(broker) = Setup::new().websocket().start() else { return };
    arrives_with_both_versions(&["-b", &format!("ws://{HOST}:{}", broker.websocket_port())]);
}

#[test]
fn websocket_over_tls() {
    let authority = Authority::new("ours");
    // The line belongs to the listener before it.
    let Some(broker) = Setup::new().tls(&authority).line("protocol websockets\nsocket_domain ipv4").start() else {
        return;
    };
    let url = format!("wss://localhost:{}/mqtt", broker.tls_port());
    arrives_with_both_versions(&["-b", &url, "--cafile", text(authority.certificate())]);
}

#[test]
fn unix_socket() {
    let Some(broker) = Setup::new().line("listener 0 mqtt.sock").start() else { return };
    let socket = broker.directory().join("mqtt.sock");
    arrives_with_both_versions(&["-b", &format!("unix://{}", socket.display())]);
}

/// The steps of `examples/mosquitto-tls/README.md`: an account by password and one by certificate, and an access list
/// with the ids that `key show` prints.
#[test]
fn the_tls_example_with_its_access_list() {
    let (publisher, subscriber) = introduced();
    let ids =
        [("00000000000000000000000000000007", &*publisher.id), ("00000000000000000000000000000009", &*subscriber.id)];
    let Some(broker) = example_tls(&["station"], &[("ward-7", "secret")], &ids) else { return };
    let certs = broker.directory().join("certs");
    let [ca, certificate, key] = ["ca.pem", "station.pem", "station.key"].map(|name| certs.join(name));
    let password = publisher.state().join("ward-7.password");
    fs::write(&password, "secret\n").unwrap();

    let writer = |version| {
        let url = format!("mqtts://localhost:{}", broker.tls_port());
        let account = ["-u", "ward-7", "--password-file", text(&password)];
        publisher.program().args(["-V", version, "-b", &url, "--cafile", text(&ca)]).args(account)
    };
    let reader = |party: &Party, version| {
        let url = format!("mqtts://localhost:{}", broker.client_certificate_port());
        let account = ["--cert", text(&certificate), "--key", text(&key)];
        party.program().args(["-V", version, "-b", &url, "--cafile", text(&ca)]).args(account)
    };
    for version in ["5", "311"] {
        arrives(writer(version), reader(&subscriber, version));
    }
    // The same account with another id gets nowhere: the list does what it says.
    let stranger = Party::subscriber("stranger");
    stranger.knows(&publisher);
    let mut refused = reader(&stranger, "5").args(["-W", "2"]).start();
    let _waiting = writer("5").args(["-m", "1"]).start();
    assert_eq!(refused.wait_exit(PATIENCE), 75);
    assert!(!refused.output().contains("refuses us"), "{}", refused.output());
}
