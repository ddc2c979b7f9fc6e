//! The key that the state is sealed with, from a file of its own: whoever has a copy of the state directory only cannot
//! read what is stored in it.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use securemqtt_core::kdf;
use zeroize::Zeroizing;

use super::error::StateError;
use super::identity::refuse_open_mode;

/// Its name among the credentials that systemd hands to a service.
const CREDENTIAL: &str = "securemqtt-state-key";
const SHORTEST: usize = 32;
/// Longer, it is something else.
const LONGEST: usize = 64 << 10;

/// What is wrong with the file of a state key.
#[derive(Debug)]
#[non_exhaustive]
pub enum KeyProblem {
    /// It cannot be read.
    Unreadable(io::Error),
    /// So many bytes can be guessed.
    TooShort(usize),
    /// It is something else.
    TooLong,
}

/// The key that the state is sealed with.
#[derive(Clone, Debug)]
pub struct StateKey {
    secret: kdf::StateKey,
    path: PathBuf,
}

impl StateKey {
    /// The key in `file` if there is one, else the service's credential of that name if there is one. `credentials` is
    /// what systemd sets `CREDENTIALS_DIRECTORY` to.
    ///
    /// # Errors
    /// If the file cannot be read, others may read it, or it is too short. Who may read a credential is systemd's matter.
    pub fn find(file: Option<&Path>, credentials: Option<&Path>) -> Result<Option<Self>, StateError> {
        let credential = credentials.map(|directory| directory.join(CREDENTIAL)).filter(|path| path.exists());
        let Some(path) = file.map(Path::to_owned).or(credential) else { return Ok(None) };
        let is_private = credentials.is_some_and(|directory| path.starts_with(directory));
        Self::read(path, is_private).map(Some)
    }

    fn read(path: PathBuf, is_private: bool) -> Result<Self, StateError> {
        let fail = |problem| StateError::Key { path: path.clone(), problem };
        let unreadable = |error: io::Error| fail(KeyProblem::Unreadable(error));
        let file = File::open(&path).map_err(unreadable)?;
        if !is_private {
            refuse_open_mode(&path, &file.metadata().map_err(unreadable)?, 0o600)?;
        }
        // Reserved, so that no outgrown copy of it stays in memory.
        let mut content = Zeroizing::new(Vec::with_capacity(LONGEST + 1));
        let limit = u64::try_from(LONGEST + 1).unwrap_or(u64::MAX);
        file.take(limit).read_to_end(&mut content).map_err(unreadable)?;
        match content.len() {
            length if length < SHORTEST => Err(fail(KeyProblem::TooShort(length))),
            length if length > LONGEST => Err(fail(KeyProblem::TooLong)),
            _ => Ok(Self { secret: kdf::state_key(&content), path }),
        }
    }

    /// The file that it is from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn secret(&self) -> &kdf::StateKey {
        &self.secret
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn write(path: &Path, content: &[u8], mode: u32) {
        fs::write(path, content).unwrap();
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    fn secret(found: Result<Option<StateKey>, StateError>) -> [u8; 32] {
        *found.unwrap().unwrap().secret().expose()
    }

    #[test]
    fn the_file_goes_before_the_credential() {
        let directory = tempfile::tempdir().unwrap();
        let (file, credentials) = (directory.path().join("key"), directory.path().join("credentials"));
        write(&file, &[1; 32], 0o400);
        assert!(StateKey::find(None, Some(&credentials)).unwrap().is_none(), "no such directory");
        fs::create_dir(&credentials).unwrap();
        assert!(StateKey::find(None, Some(&credentials)).unwrap().is_none());
        assert!(StateKey::find(None, None).unwrap().is_none());
        // systemd lets those read it who may, by an access list that shows as the group's bit.
        write(&credentials.join(CREDENTIAL), &[2; 40], 0o440);
        assert_eq!(secret(StateKey::find(None, Some(&credentials))), *kdf::state_key(&[2; 40]).expose());
        assert_eq!(secret(StateKey::find(Some(&file), Some(&credentials))), *kdf::state_key(&[1; 32]).expose());
        let named = credentials.join(CREDENTIAL);
        assert_eq!(secret(StateKey::find(Some(&named), Some(&credentials))), *kdf::state_key(&[2; 40]).expose());
        assert!(matches!(StateKey::find(Some(&named), None), Err(StateError::Mode { mode: 0o440, .. })));
    }

    #[test]
    fn what_is_no_key_is_refused_with_what_to_do() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        let refused = || StateKey::find(Some(&path), None).unwrap_err().to_string();
        assert!(refused().contains("cannot read the state key"), "{}", refused());
        write(&path, &[1; 31], 0o600);
        assert!(refused().contains("31 bytes") && refused().contains("head -c 32 /dev/urandom > "), "{}", refused());
        write(&path, &[1; 32], 0o640);
        assert!(refused().contains("mode 0640") && refused().contains("chmod 600"), "{}", refused());
        write(&path, &vec![1; LONGEST + 1], 0o600);
        assert!(refused().contains("no key"), "{}", refused());
        write(&path, &vec![1; LONGEST], 0o600);
        let shown = format!("{:?}", StateKey::find(Some(&path), None).unwrap().unwrap());
        assert!(shown.contains("[secret]"), "{shown}");
    }
}
