//! `peers list|add|import|replace|revoke|rm`: the pinned peers.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use securemqtt_core::identity::IdentityPublic;
use securemqtt_core::peers::{Conflict, KnownPeers, Peer, PeerName};
use serde_json::json;

use crate::exit::{Exit, Failure, Outcome};
use crate::identity::{Role, StateArgs};
use crate::pages::write_stdout;
use crate::{running, store};

/// `peers …`.
#[derive(Args, Clone, Debug)]
pub struct PeersArgs {
    /// Print JSON, one object a peer
    #[arg(long, global = true)]
    pub json: bool,

    /// What to do.
    #[command(subcommand)]
    pub command: PeersCommand,
}

/// What to do with the pinned peers.
#[derive(Subcommand, Clone, Debug)]
pub enum PeersCommand {
    /// List them
    List,
    /// Pin a new peer
    Add {
        /// What to call it
        name: PeerName,
        /// Its public key as `key export` prints it, or the file with it
        #[arg(required = true, num_args = 1..)]
        key: Vec<String>,
    },
    /// Pin every peer of a known_peers file; - is stdin
    Import {
        /// The file
        file: PathBuf,
    },
    /// Give a pinned peer a new key, after you have checked it with its owner
    Replace {
        /// The peer
        name: PeerName,
        /// Its new public key, or the file with it
        #[arg(required = true, num_args = 1..)]
        key: Vec<String>,
    },
    /// Refuse a peer from now on, and remember why
    Revoke {
        /// The peer
        name: PeerName,
    },
    /// Forget a peer
    Rm {
        /// The peer
        name: PeerName,
    },
}

/// Runs `peers …`.
///
/// # Errors
/// The file cannot be read or written, or the change makes no sense.
pub fn run(args: &PeersArgs, state: &StateArgs, role: Role) -> Outcome<Exit> {
    let dir = state.state_dir(role)?;
    let file = state.known_peers(&dir);
    let concerned = match &args.command {
        PeersCommand::List => store::known_peers(&file)?.iter().cloned().collect(),
        command => {
            let concerned = store::edit_known_peers(&dir, &file, |known| change(known, command))?;
            running::reload(&dir);
            concerned
        }
    };
    write_stdout(&show(&concerned, args.json)?)
}

/// Makes a change and returns the peers that it concerns.
fn change(known: &mut KnownPeers, command: &PeersCommand) -> Outcome<Vec<Peer>> {
    match command {
        PeersCommand::List => Ok(known.iter().cloned().collect()),
        PeersCommand::Add { name, key } => {
            let peer = Peer { name: name.clone(), key: read_key(key)?, revoked: false, comment: None };
            add(known, peer.clone())?;
            Ok(vec![peer])
        }
        PeersCommand::Import { file } => import(known, &read_text(file)?, file),
        PeersCommand::Replace { name, key } => {
            let old = known.replace(name, read_key(key)?).map_err(|c| refused(&c))?;
            old.ok_or_else(|| unknown(name))?;
            named(known, name)
        }
        PeersCommand::Revoke { name } => {
            known.revoke(name);
            named(known, name)
        }
        PeersCommand::Rm { name } => {
            let gone = known.remove(name).ok_or_else(|| unknown(name))?;
            Ok(vec![gone])
        }
    }
}

fn add(known: &mut KnownPeers, peer: Peer) -> Outcome<()> {
    known.add(peer).map_err(|conflict| refused(&conflict))
}

/// All of a file or nothing; a peer that is pinned alike already is passed over.
fn import(known: &mut KnownPeers, text: &str, file: &Path) -> Outcome<Vec<Peer>> {
    let new =
        KnownPeers::parse(text).map_err(|error| Failure::new(Exit::BadData, format!("{}: {error}", file.display())))?;
    let mut added = Vec::new();
    for peer in new.iter() {
        let same = known.by_name(&peer.name).filter(|old| old.key == peer.key).map(|old| old.revoked);
        if same.is_none() {
            add(known, peer.clone())?;
            added.push(peer.clone());
        } else if peer.revoked && same == Some(false) {
            known.revoke(&peer.name);
            added.push(peer.clone());
        }
    }
    Ok(added)
}

fn named(known: &KnownPeers, name: &PeerName) -> Outcome<Vec<Peer>> {
    let peer = known.by_name(name).ok_or_else(|| unknown(name))?;
    Ok(vec![peer.clone()])
}

fn unknown(name: &PeerName) -> Failure {
    Failure::new(Exit::Usage, format!("there is no peer called {name}")).hint("`peers list` shows them all")
}

fn refused(conflict: &Conflict) -> Failure {
    let (Conflict::Name(peer) | Conflict::Key(peer)) = conflict;
    Failure::new(Exit::Refused, conflict.to_string()).hint(format!(
        "if its key has changed for a reason you know: `peers replace {0} KEY`; to start over: `peers rm {0}`",
        peer.name
    ))
}

/// A key in one argument or, unquoted, in several; or the file with it.
fn read_key(words: &[String]) -> Outcome<IdentityPublic> {
    let line = match words {
        [file] if !file.contains(' ') => read_text(Path::new(file))?,
        words => words.join(" "),
    };
    IdentityPublic::from_openssh(line.trim()).map_err(|error| {
        Failure::new(Exit::BadData, error.to_string())
            .hint("a key looks like: ecdsa-sha2-nistp256 AAAA…, as the peer's `key export` prints it")
    })
}

/// The longest file that holds a key or a list of peers.
const MAX_TEXT: u64 = 16 << 20;

fn read_text(file: &Path) -> Outcome<String> {
    let mut text = String::new();
    let read = if file == Path::new("-") {
        std::io::stdin().take(MAX_TEXT).read_to_string(&mut text)
    } else {
        std::fs::File::open(file).and_then(|open| open.take(MAX_TEXT).read_to_string(&mut text))
    };
    read.map_err(|error| Failure::reading(file, &error))?;
    Ok(text)
}

fn show(peers: &[Peer], json: bool) -> Outcome<Vec<u8>> {
    let width = peers.iter().map(|peer| peer.name.as_str().len()).max();
    let width = width.unwrap_or_default();
    let mut text = Vec::new();
    for peer in peers {
        let fingerprint = peer.key.fingerprint().to_string();
        let name = peer.name.as_str();
        if json {
            let object = json!({
                "name": name,
                "fingerprint": fingerprint,
                "id": peer.key.id().to_string(),
                "key": peer.key.to_openssh(),
                "revoked": peer.revoked,
                "comment": peer.comment,
            });
            writeln!(text, "{object}")?;
        } else {
            let revoked = if peer.revoked { "  revoked" } else { "" };
            writeln!(text, "{name:width$}  {fingerprint}{revoked}")?;
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;

    use super::*;

    fn key(number: u8) -> IdentityPublic {
        let secret = securemqtt_core::identity::IdentityKey::from_bytes(&[number; 32]).unwrap();
        secret.public().clone()
    }

    fn name(text: &str) -> PeerName {
        text.parse().unwrap()
    }

    fn add(text: &str, number: u8) -> PeersCommand {
        PeersCommand::Add { name: name(text), key: vec![key(number).to_openssh()] }
    }

    fn pinned() -> KnownPeers {
        let mut known = KnownPeers::default();
        change(&mut known, &add("meter-7", 7)).unwrap();
        known
    }

    #[test]
    fn add_replace_revoke_remove() {
        let mut known = pinned();
        let replace = PeersCommand::Replace {
            name: name("meter-7"),
            key: key(8).to_openssh().split(' ').map(str::to_owned).collect(),
        };
        assert_eq!(change(&mut known, &replace).unwrap()[0].key, key(8));
        let revoke = PeersCommand::Revoke { name: name("meter-7") };
        assert!(change(&mut known, &revoke).unwrap()[0].revoked);
        let rm = PeersCommand::Rm { name: name("meter-7") };
        change(&mut known, &rm).unwrap();
        assert!(known.is_empty());
        for command in [replace, revoke, rm] {
            assert_eq!(change(&mut known, &command).unwrap_err().exit(), Exit::Usage);
        }
    }

    #[test]
    fn a_name_and_a_key_are_pinned_once() {
        let mut known = pinned();
        for command in [add("meter-7", 9), add("other", 7)] {
            let failure = change(&mut known, &command).unwrap_err();
            assert_eq!(failure.exit(), Exit::Refused);
            let text = failure.to_string();
            assert!(text.contains(&key(7).fingerprint().to_string()), "{text}");
            assert!(text.contains("peers replace meter-7"), "{text}");
        }
    }

    #[test]
    fn import_is_all_or_nothing_and_may_be_repeated() {
        let mut known = pinned();
        let text = format!("# ward\n{}\nmeter-9 {}\n", known.iter().next().unwrap(), key(9).to_openssh());
        let file = Path::new("f");
        assert_eq!(import(&mut known, &text, file).unwrap().len(), 1);
        assert_eq!(import(&mut known, &text, file).unwrap().len(), 0);
        let failure = import(&mut known, "meter-1 ecdsa-sha2-nistp256 AAAA", file).unwrap_err();
        assert_eq!(failure.exit(), Exit::BadData);
        assert!(failure.message().contains("line 1"), "{failure}");
    }

    #[test]
    fn a_key_may_stand_in_a_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key.pub");
        fs::write(&path, format!("{} comment\n", key(3).to_openssh())).unwrap();
        let argument = path.to_str().unwrap().to_owned();
        assert_eq!(read_key(&[argument]).unwrap(), key(3));
        assert_eq!(read_key(&["/nonexistent".into()]).unwrap_err().exit(), Exit::MissingInput);
        let rsa = read_key(&["ssh-rsa AAAA".into()]).unwrap_err();
        assert_eq!(rsa.exit(), Exit::BadData);
    }

    #[test]
    fn a_change_reaches_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateArgs {
            name: None,
            state_dir: Some(directory.path().join("state")),
            state_key_file: None,
            known_peers: None,
        };
        let args = PeersArgs { json: false, command: add("meter-7", 7) };
        run(&args, &state, Role::Publisher).unwrap();
        let text = fs::read_to_string(directory.path().join("state/known_peers")).unwrap();
        assert_eq!(text, format!("meter-7 {}\n", key(7).to_openssh()));
    }

    #[test]
    fn listings() {
        let peers: Vec<Peer> = pinned().iter().cloned().collect();
        let fingerprint = key(7).fingerprint().to_string();
        let text = String::from_utf8(show(&peers, false).unwrap()).unwrap();
        assert_eq!(text, format!("meter-7  {fingerprint}\n"));
        let value: serde_json::Value = serde_json::from_slice(&show(&peers, true).unwrap()).unwrap();
        assert_eq!(value["fingerprint"], fingerprint.as_str());
        assert_eq!(value["revoked"], false);
    }
}
