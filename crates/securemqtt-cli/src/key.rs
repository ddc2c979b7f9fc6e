//! `key show|generate|export`: our identity key.

use std::io::Write;
use std::path::Path;

use clap::Subcommand;
use securemqtt_core::identity::IdentityPublic;

use crate::exit::{Exit, Failure, Outcome};
use crate::identity::{Role, StateArgs};
use crate::pages::write_stdout;
use crate::store;

/// `key …`.
#[derive(Subcommand, Clone, Copy, Debug)]
pub enum KeyCommand {
    /// Show the fingerprint to tell your peers, the name and the id
    Show,
    /// Make a new identity key; an existing one is never overwritten
    Generate,
    /// Print the public key in OpenSSH format, for `peers add` and ssh-keygen -lf
    Export,
}

/// Runs `key …`.
///
/// # Errors
/// There is no key yet, or already one, or the state directory cannot be used.
pub fn run(command: &KeyCommand, state: &StateArgs, role: Role) -> Outcome<Exit> {
    let dir = state.state_dir(role)?;
    let text = match command {
        KeyCommand::Show => show(&existing(&dir, role)?, &dir, state, role)?,
        KeyCommand::Generate => show(&store::generate_identity(&dir)?, &dir, state, role)?,
        KeyCommand::Export => export(&existing(&dir, role)?, state, role)?,
    };
    write_stdout(&text)
}

/// Our public key, which must be there.
pub(crate) fn existing(dir: &Path, role: Role) -> Outcome<IdentityPublic> {
    store::identity(dir)?.ok_or_else(|| {
        let program = role.program();
        let message = format!("there is no identity key in {}", dir.display());
        Failure::new(Exit::Config, message)
            .hint(format!("make one with `{program} key generate`, or start {program} once"))
    })
}

fn show(key: &IdentityPublic, dir: &Path, state: &StateArgs, role: Role) -> Outcome<Vec<u8>> {
    let mut text = Vec::new();
    writeln!(text, "fingerprint  {}", key.fingerprint())?;
    writeln!(text, "name         {}", state.name(role, key.id()))?;
    writeln!(text, "id           {}", key.id())?;
    writeln!(text, "kept in      {}", dir.display())?;
    Ok(text)
}

fn export(key: &IdentityPublic, state: &StateArgs, role: Role) -> Outcome<Vec<u8>> {
    let mut line = Vec::new();
    writeln!(line, "{} {}", key.to_openssh(), state.name(role, key.id()))?;
    Ok(line)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn state(dir: &Path) -> StateArgs {
        StateArgs {
            name: Some("meter-7".parse().unwrap()),
            state_dir: Some(dir.to_owned()),
            state_key_file: None,
            known_peers: None,
        }
    }

    #[test]
    fn a_key_is_made_once_and_exported_for_ssh() {
        let directory = tempfile::tempdir().unwrap();
        let dir = directory.path().join("state");
        let state = state(&dir);
        let key = store::generate_identity(&dir).unwrap();
        let again = store::generate_identity(&dir).unwrap_err();
        assert!(again.message().contains(&*dir.to_string_lossy()), "{again}");
        assert_eq!(existing(&dir, Role::Publisher).unwrap(), key);

        let line = String::from_utf8(export(&key, &state, Role::Publisher).unwrap()).unwrap();
        assert!(line.ends_with(" meter-7\n"), "{line}");
        assert_eq!(IdentityPublic::from_openssh(&line).unwrap(), key);
        let shown = String::from_utf8(show(&key, &dir, &state, Role::Publisher).unwrap()).unwrap();
        assert!(shown.contains(&key.fingerprint().to_string()), "{shown}");
    }

    #[test]
    fn without_a_key_it_says_how_to_make_one() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path().join("state");
        let failure = run(&KeyCommand::Show, &state(&directory), Role::Subscriber).unwrap_err();
        assert_eq!(failure.exit(), Exit::Config);
        assert!(failure.to_string().contains("mqtt-subscriber key generate"), "{failure}");
    }
}
