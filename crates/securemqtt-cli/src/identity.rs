//! The flags that say who we are, and whom we trust.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::{Args, ValueEnum};
use securemqtt_client::state::StateKey;
use securemqtt_core::identity::{Fingerprint, PeerId};
use securemqtt_core::peers::PeerName;
use securemqtt_core::trust::TrustMode;

use crate::exit::{Exit, Failure, Outcome};
use crate::prompt;

/// The two kinds of program; each has a state directory and a kind of default name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// `mqtt-publisher`.
    Publisher,
    /// `mqtt-subscriber`.
    Subscriber,
}

impl Role {
    /// `publisher` or `subscriber`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Publisher => "publisher",
            Self::Subscriber => "subscriber",
        }
    }

    /// The program's name.
    pub fn program(self) -> &'static str {
        match self {
            Self::Publisher => "mqtt-publisher",
            Self::Subscriber => "mqtt-subscriber",
        }
    }
}

/// Where our identity and our pins are; all that `key` and `peers` need too.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Identity and trust")]
pub struct StateArgs {
    /// Name to propose to peers [default: from the identity key, such as publisher-3fa1]
    #[arg(long, value_name = "NAME", global = true)]
    pub name: Option<PeerName>,

    /// Directory of the identity key and known_peers [default: $XDG_STATE_HOME/securemqtt/{publisher,subscriber}]
    #[arg(long, value_name = "DIR", global = true)]
    pub state_dir: Option<PathBuf>,

    /// Seal the secrets that are stored with the key in this file, 32 bytes or more; identity.pem is not sealed [default: the systemd credential securemqtt-state-key]
    #[arg(long, value_name = "FILE")]
    pub state_key_file: Option<PathBuf>,

    /// Pinned peers [default: known_peers in the state directory]
    #[arg(long, value_name = "FILE", global = true)]
    pub known_peers: Option<PathBuf>,
}

impl StateArgs {
    /// The state directory: the flag's, or the user's.
    ///
    /// # Errors
    /// Neither the flag nor `XDG_STATE_HOME` nor `HOME` is set.
    pub fn state_dir(&self, role: Role) -> Outcome<PathBuf> {
        let variable = |name| std::env::var_os(name).map(PathBuf::from);
        self.state_dir
            .clone()
            .or_else(|| default_state_dir(role, variable("XDG_STATE_HOME"), variable("HOME")))
            .ok_or_else(|| {
                Failure::new(Exit::Config, "no state directory: HOME is not set")
                    .hint("say where the identity key is kept, with --state-dir DIR")
            })
    }

    /// The key that the state is sealed with: the flag's, or the one that systemd hands to a service.
    ///
    /// # Errors
    /// The file is not there, others may read it, or it is too short.
    pub fn state_key(&self) -> Outcome<Option<StateKey>> {
        let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
        Ok(StateKey::find(self.state_key_file.as_deref(), credentials.as_deref())?)
    }

    /// The file of pinned peers.
    pub fn known_peers(&self, state_dir: &Path) -> PathBuf {
        self.known_peers.clone().unwrap_or_else(|| state_dir.join("known_peers"))
    }

    /// The name to propose.
    pub fn name(&self, role: Role, own: PeerId) -> PeerName {
        self.name.clone().unwrap_or_else(|| PeerName::from_role(role.as_str(), own))
    }
}

/// Relative paths in the variables are to be ignored, says the XDG specification.
fn default_state_dir(role: Role, xdg: Option<PathBuf>, home: Option<PathBuf>) -> Option<PathBuf> {
    let absolute = |path: &PathBuf| path.is_absolute();
    let state = xdg.filter(absolute).or_else(|| Some(home.filter(absolute)?.join(".local/state")))?;
    Some(state.join("securemqtt").join(role.as_str()))
}

/// Whom we trust.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Identity and trust")]
pub struct TrustArgs {
    /// What to do about a new peer [default: ask on a terminal, else strict]
    #[arg(long, value_enum, value_name = "MODE")]
    pub trust: Option<TrustChoice>,

    /// Trust this peer by its fingerprint; may be repeated
    #[arg(long = "peer", value_name = "NAME=SHA256:…")]
    pub peer: Vec<PeerPin>,
}

/// `--trust`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TrustChoice {
    /// Only pinned peers
    Strict,
    /// Ask on the terminal
    Ask,
    /// Remember every new peer; a changed key is refused all the same
    AcceptNew,
}

/// `--peer NAME=SHA256:…`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerPin {
    /// The name to remember it under.
    pub name: PeerName,
    /// Its key's fingerprint.
    pub fingerprint: Fingerprint,
}

impl FromStr for PeerPin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, fingerprint) = text.split_once('=').ok_or("expected NAME=SHA256:…")?;
        Ok(Self {
            name: name.parse().map_err(|error| format!("{error}"))?,
            fingerprint: fingerprint.parse().map_err(|error| format!("{error}"))?,
        })
    }
}

impl TrustArgs {
    /// The trust mode of this run: the flag, or the rule of first contact.
    ///
    /// # Errors
    /// `--trust ask` where nobody can be asked.
    pub fn mode(&self, local_broker: bool, no_peers_yet: bool) -> Outcome<TrustMode> {
        self.mode_with(prompt::is_interactive(), local_broker, no_peers_yet)
    }

    /// The pins of `--peer`.
    pub fn pins(&self) -> Vec<(PeerName, Fingerprint)> {
        let pair = |pin: &PeerPin| (pin.name.clone(), pin.fingerprint);
        self.peer.iter().map(pair).collect()
    }

    fn mode_with(&self, terminal: bool, local_broker: bool, no_peers_yet: bool) -> Outcome<TrustMode> {
        match self.trust {
            Some(TrustChoice::Strict) => Ok(TrustMode::Strict),
            Some(TrustChoice::AcceptNew) => Ok(TrustMode::AcceptNew),
            Some(TrustChoice::Ask) if !terminal => {
                Err(Failure::new(Exit::Config, "--trust ask needs a terminal, and there is none")
                    .hint("pin the peer with --peer NAME=SHA256:… or `peers add`, or use --trust accept-new"))
            }
            None if !terminal => Ok(TrustMode::Strict),
            // A pin says whom to expect: then nobody is trusted unasked.
            None if local_broker && no_peers_yet && self.peer.is_empty() => Ok(TrustMode::FirstPeer),
            Some(TrustChoice::Ask) | None => Ok(TrustMode::Ask),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn args(trust: Option<TrustChoice>) -> TrustArgs {
        TrustArgs { trust, peer: Vec::new() }
    }

    #[test]
    fn first_contact_without_a_flag() {
        let mode = |terminal, local, empty| args(None).mode_with(terminal, local, empty).unwrap();
        assert_eq!(mode(true, true, true), TrustMode::FirstPeer);
        assert_eq!(mode(true, true, false), TrustMode::Ask);
        assert_eq!(mode(true, false, true), TrustMode::Ask);
        assert_eq!(mode(false, true, true), TrustMode::Strict);
    }

    #[test]
    fn a_pin_ends_unasked_trust() {
        let key = Fingerprint::from_str(&format!("SHA256:{}", "A".repeat(43))).unwrap();
        let peer = vec![PeerPin { name: "meter".parse().unwrap(), fingerprint: key }];
        let pinned = TrustArgs { trust: None, peer };
        assert_eq!(pinned.mode_with(true, true, true).unwrap(), TrustMode::Ask);
    }

    #[test]
    fn the_flag_decides() {
        let mode = |choice, terminal| args(Some(choice)).mode_with(terminal, true, true);
        assert_eq!(mode(TrustChoice::Strict, true).unwrap(), TrustMode::Strict);
        assert_eq!(mode(TrustChoice::AcceptNew, false).unwrap(), TrustMode::AcceptNew);
        assert_eq!(mode(TrustChoice::Ask, true).unwrap(), TrustMode::Ask);
        assert_eq!(mode(TrustChoice::Ask, false).unwrap_err().exit(), Exit::Config);
    }

    #[test]
    fn the_state_directory_is_the_users() {
        let dir = |xdg: Option<&str>, home: Option<&str>| {
            default_state_dir(Role::Publisher, xdg.map(Into::into), home.map(Into::into))
        };
        let home = Some("/home/me");
        let want = |path: &str| Some(PathBuf::from(path));
        assert_eq!(dir(Some("/s"), home), want("/s/securemqtt/publisher"));
        assert_eq!(dir(None, home), want("/home/me/.local/state/securemqtt/publisher"));
        assert_eq!(dir(Some("rel"), home), dir(None, home));
        assert_eq!(dir(Some(""), None), None);
    }

    #[test]
    fn pins_are_checked() {
        let key = format!("SHA256:{}", "A".repeat(43));
        let pin = PeerPin::from_str(&format!("meter-7={key}")).unwrap();
        assert_eq!(pin.name.as_str(), "meter-7");
        assert_eq!(pin.fingerprint.to_string(), key);
        for bad in ["meter-7", "meter-7=SHA256:abc", &format!("a b={key}"), &format!("={key}")] {
            assert!(PeerPin::from_str(bad).is_err(), "{bad}");
        }
    }
}
