use std::collections::{HashMap, HashSet};

use securemqtt_client::state::read_identity;

use crate::broker::Broker;
use crate::eavesdropper::{Eavesdropper, Heard};
use crate::parties::{KEYED, Party, introduce, introduced};
use crate::process::{PATIENCE, Running};

/// What every simulated reading contains.
const FIELDS: [&str; 5] = ["patient_id", "heart_rate", "temperature", "spo2", "timestamp"];

/// A session of two subscribers from its first byte to its last, heard by someone without a key.
struct Session {
    parties: [Party; 3],
    readings: Vec<String>,
    heard: Vec<Heard>,
    logs: Vec<String>,
}

/// `log` is what `SECUREMQTT_LOG` says.
fn session(log: &str) -> Session {
    let broker = Broker::start();
    let eavesdropper = Eavesdropper::listen(&broker);
    let (publisher, subscriber) = introduced();
    let second = Party::subscriber("second");
    introduce(&publisher, &second);
    let reading = |party: &Party| {
        let file = party.state().join("readings");
        let flags = ["--output", "raw", "-o", file.to_str().unwrap(), "-C", "30"];
        let running = party.at(&broker).args(flags).env("SECUREMQTT_LOG", log).start();
        running.wait_for("Connected to broker");
        (running, file)
    };
    let mut reading = [reading(&subscriber), reading(&second)];
    // Enough for ratchet steps and a new stream under way.
    let often = ["--interval", "50ms", "--ratchet-every", "10", "--rotate-every", "1s", "--tick-every", "200ms"];
    let mut publishing = publisher.at(&broker).args(often).env("SECUREMQTT_LOG", log).start();
    let mut readings = Vec::new();
    for (running, file) in &mut reading {
        running.wait_for(KEYED);
        assert_eq!(running.wait_exit(PATIENCE), 0, "{}", publishing.output());
        readings.extend(std::fs::read_to_string(file).unwrap().lines().map(str::to_owned));
    }
    assert_eq!(publishing.interrupt(), 0);
    let logs = [&publishing, &reading[0].0, &reading[1].0].map(Running::output).to_vec();
    Session { parties: [publisher, subscriber, second], readings, heard: eavesdropper.heard(), logs }
}

impl Session {
    /// Everything that must not be seen: readings, the names and values in them, and both halves of each identity key's
    /// file, as a person, a program or a debugger would write them.
    fn secrets(&self) -> Vec<Vec<u8>> {
        let mut secrets: Vec<Vec<u8>> = FIELDS.iter().map(|field| field.as_bytes().to_vec()).collect();
        secrets.extend(self.readings.iter().flat_map(|reading| spellings(reading.as_bytes())));
        secrets.extend(self.readings.iter().map(|reading| timestamp(reading).as_bytes().to_vec()));
        for party in &self.parties {
            let file = party.state().join("identity.pem");
            let pem = std::fs::read_to_string(&file).unwrap();
            secrets.extend(pem.lines().filter(|line| !line.starts_with('-')).map(|line| line.as_bytes().to_vec()));
            let key = read_identity(&file).unwrap().unwrap().to_bytes();
            // A quarter of a key is too much already.
            secrets.extend(key.chunks(8).flat_map(spellings));
        }
        secrets
    }
}

/// `03:43:47`.
fn timestamp(reading: &str) -> String {
    let reading: serde_json::Value = serde_json::from_str(reading).unwrap();
    format!("\"{}\"", reading["timestamp"].as_str().unwrap())
}

/// Bytes as they are, in hexadecimal, and as a debugger lists them.
fn spellings(bytes: &[u8]) -> Vec<Vec<u8>> {
    let hex = bytes.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
    let list = format!("{bytes:?}");
    let list = list.trim_matches(['[', ']']).to_owned();
    vec![bytes.to_vec(), hex.to_uppercase().into_bytes(), hex.into_bytes(), list.into_bytes()]
}

fn shown(secret: &[u8]) -> String {
    String::from_utf8_lossy(secret).into_owned()
}

#[test]
fn an_eavesdropper_finds_no_reading_and_no_key() {
    let session = session("warn");
    assert_eq!(session.readings.len(), 60);
    let kinds = ["hello", "in", "to", "keys", "tick"];
    assert!(kinds.iter().all(|kind| session.heard.iter().any(|heard| heard.is(kind))), "not a whole session");
    let frames = session.heard.iter().filter(|heard| heard.topic == "telemetry/ward-7").count();
    assert!(frames >= 30, "{frames} frames");
    for secret in session.secrets() {
        if let Some(heard) = session.heard.iter().find(|heard| heard.contains(&secret)) {
            panic!("{:?} crossed the broker on {}", shown(&secret), heard.topic);
        }
    }
}

/// All subscribers get the same stream secrets, and all readings begin alike. Whatever of it crossed the broker in the
/// clear, or twice under one key and nonce, would be there twice.
#[test]
fn nothing_that_is_sealed_is_ever_seen_twice() {
    const LENGTH: usize = 8;
    let session = session("warn");
    let mut seen: HashMap<Vec<u8>, &str> = HashMap::new();
    for (topic, sealed) in sealed_parts(&session) {
        for window in sealed.windows(LENGTH).collect::<HashSet<_>>() {
            if let Some(other) = seen.insert(window.to_vec(), topic) {
                panic!("{window:02x?} crossed the broker on {topic} and on {other}");
            }
        }
    }
    assert!(seen.len() > 3_000, "only {} places looked at", seen.len());
}

/// The ciphertexts of frames, grants and key entries: each distinct message once, without its clear header.
fn sealed_parts(session: &Session) -> Vec<(&str, &[u8])> {
    let mut parts = Vec::new();
    let mut known = HashSet::new();
    for heard in &session.heard {
        let payload = &heard.payload[..];
        if !known.insert(payload) {
            continue;
        }
        // type 1, run 5, generation 1, seq 1 or 2 | type 1, rid 8 | as the diagrams in PROTOCOL.md have them.
        let sealed = match heard {
            _ if heard.topic == "telemetry/ward-7" => vec![&payload[8..]],
            _ if heard.is("to") => vec![&payload[9..]],
            _ if heard.is("keys") => entries(payload),
            _ => continue,
        };
        parts.extend(sealed.into_iter().filter(|sealed| known.insert(sealed)).map(|sealed| (&*heard.topic, sealed)));
    }
    parts
}

/// KEYS: type 1, sid 8, n 1, n times {idx 4, salt 16, length 2, ciphertext}.
fn entries(payload: &[u8]) -> Vec<&[u8]> {
    let mut entries = Vec::new();
    let Some(mut rest) = payload.get(10..) else { return entries };
    while let Some((head, after)) = rest.split_at_checked(22) {
        let length = usize::from(u16::from_be_bytes([head[20], head[21]]));
        // With its tag, if the length does not count it.
        let (entry, after) = after.split_at(length.min(after.len()));
        entries.push(entry);
        rest = after;
    }
    entries
}

#[test]
fn a_log_at_its_most_talkative_tells_no_reading_and_no_key() {
    let session = session("trace");
    for (log, party) in session.logs.iter().zip(&session.parties) {
        assert!(log.contains("DEBUG"), "{}: not talkative at all", party.name);
        for secret in session.secrets() {
            let found = log.as_bytes().windows(secret.len()).any(|window| window == secret);
            assert!(!found, "the log of {} tells {:?}", party.name, shown(&secret));
        }
    }
}
