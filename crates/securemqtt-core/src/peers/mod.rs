//! The known peers: names and pinned identity keys, as lines of a text file.
//!
//! A line is `NAME ecdsa-sha2-nistp256 BASE64 [comment]`, with `@revoked` in front for a revoked peer.
//! Names are unique and so are keys. Blank lines and `#` comments survive an edit.

mod error;
mod name;

use std::collections::HashMap;
use std::fmt;

pub use self::error::{Conflict, ParseError, ParseErrorKind};
pub use self::name::{InvalidName, MAX_NAME_LEN, PeerName};
use crate::identity::{IdentityPublic, PeerId};

const REVOKED: &str = "@revoked";

/// A pinned peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its petname, ours to choose.
    pub name: PeerName,
    /// Its identity key.
    pub key: IdentityPublic,
    /// Whether it has been revoked: it is refused, with the reason.
    pub revoked: bool,
    /// The rest of its line.
    pub comment: Option<String>,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.revoked {
            write!(f, "{REVOKED} ")?;
        }
        write!(f, "{} {}", self.name, self.key.to_openssh())?;
        self.comment.iter().try_for_each(|comment| write!(f, " {comment}"))
    }
}

#[derive(Clone, Debug)]
enum Line {
    Peer(Peer),
    Text(String),
}

/// The contents of a known_peers file.
#[derive(Clone, Debug, Default)]
pub struct KnownPeers {
    lines: Vec<Line>,
    /// The line of each id and of each name.
    ids: HashMap<PeerId, usize>,
    names: HashMap<PeerName, usize>,
}

impl KnownPeers {
    /// Reads a whole file.
    ///
    /// # Errors
    /// [`ParseError`] with the number of the first bad line: half a file is no file.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let mut known = Self::default();
        for (index, line) in text.lines().enumerate() {
            let fail = |kind| ParseError { line: index + 1, kind };
            if line.trim().is_empty() || line.starts_with('#') {
                known.lines.push(Line::Text(line.to_owned()));
            } else {
                let peer = parse_line(line).map_err(fail)?;
                known.add(peer).map_err(|conflict| fail(ParseErrorKind::Duplicate(conflict)))?;
            }
        }
        // It is kept for long, and seldom grows.
        known.lines.shrink_to_fit();
        Ok(known)
    }

    /// The peers, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &Peer> {
        self.lines.iter().filter_map(|line| match line {
            Line::Peer(peer) => Some(peer),
            Line::Text(_) => None,
        })
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// The peer of this name.
    pub fn by_name(&self, name: &PeerName) -> Option<&Peer> {
        self.names.get(name).and_then(|&line| self.at(line))
    }

    /// The peer with this key.
    pub fn by_key(&self, key: &IdentityPublic) -> Option<&Peer> {
        self.by_id(key.id()).filter(|peer| peer.key == *key)
    }

    /// The peer with this id.
    pub fn by_id(&self, id: PeerId) -> Option<&Peer> {
        self.ids.get(&id).and_then(|&line| self.at(line))
    }

    fn at(&self, line: usize) -> Option<&Peer> {
        match self.lines.get(line) {
            Some(Line::Peer(peer)) => Some(peer),
            _ => None,
        }
    }

    fn index(&mut self) {
        let peers = || {
            self.lines.iter().enumerate().filter_map(|(line, entry)| match entry {
                Line::Peer(peer) => Some((line, peer)),
                Line::Text(_) => None,
            })
        };
        let ids = peers().map(|(line, peer)| (peer.key.id(), line)).collect();
        let names = peers().map(|(line, peer)| (peer.name.clone(), line)).collect();
        (self.ids, self.names) = (ids, names);
    }

    /// Adds a peer.
    ///
    /// # Errors
    /// [`Conflict`] when its name or its key is known already.
    pub fn add(&mut self, peer: Peer) -> Result<(), Conflict> {
        if let Some(other) = self.by_name(&peer.name) {
            return Err(Conflict::Name(Box::new(other.clone())));
        }
        if let Some(other) = self.by_key(&peer.key) {
            return Err(Conflict::Key(Box::new(other.clone())));
        }
        self.ids.insert(peer.key.id(), self.lines.len());
        self.names.insert(peer.name.clone(), self.lines.len());
        self.lines.push(Line::Peer(peer));
        Ok(())
    }

    /// Gives a known name a new key, and returns the old one; `Ok(None)` when the name is unknown.
    ///
    /// # Errors
    /// [`Conflict`] when the new key has another name.
    pub fn replace(&mut self, name: &PeerName, key: IdentityPublic) -> Result<Option<IdentityPublic>, Conflict> {
        if let Some(other) = self.by_key(&key).filter(|other| other.name != *name) {
            return Err(Conflict::Key(Box::new(other.clone())));
        }
        let old = self.get_mut(name).map(|peer| {
            peer.revoked = false;
            std::mem::replace(&mut peer.key, key)
        });
        self.index();
        Ok(old)
    }

    /// Marks a peer as revoked; false when the name is unknown.
    pub fn revoke(&mut self, name: &PeerName) -> bool {
        self.get_mut(name).map(|peer| peer.revoked = true).is_some()
    }

    /// Forgets a peer and returns it.
    pub fn remove(&mut self, name: &PeerName) -> Option<Peer> {
        let removed = self.lines.remove(*self.names.get(name)?);
        self.index();
        match removed {
            Line::Peer(peer) => Some(peer),
            Line::Text(_) => None,
        }
    }

    fn get_mut(&mut self, name: &PeerName) -> Option<&mut Peer> {
        match self.lines.get_mut(*self.names.get(name)?) {
            Some(Line::Peer(peer)) => Some(peer),
            _ => None,
        }
    }
}

impl fmt::Display for KnownPeers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines.iter().try_for_each(|line| match line {
            Line::Peer(peer) => writeln!(f, "{peer}"),
            Line::Text(text) => writeln!(f, "{text}"),
        })
    }
}

fn parse_line(line: &str) -> Result<Peer, ParseErrorKind> {
    let (revoked, rest) = match line.split_once(char::is_whitespace) {
        Some((REVOKED, rest)) => (true, rest.trim_start()),
        Some((marker, _)) if marker.starts_with('@') => return Err(ParseErrorKind::Marker(marker.to_owned())),
        _ => (false, line),
    };
    let (name, rest) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let name = name.parse().map_err(ParseErrorKind::Name)?;
    let key = IdentityPublic::from_openssh(rest).map_err(ParseErrorKind::Key)?;
    let (_type, rest) = split_word(rest);
    let (_base64, rest) = split_word(rest);
    let comment = Some(rest.trim()).filter(|text| !text.is_empty()).map(str::to_owned);
    Ok(Peer { name, key, revoked, comment })
}

/// The first word, and what follows the space behind it.
fn split_word(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    text.split_once(char::is_whitespace).unwrap_or((text, ""))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::identity::IdentityKey;

    fn key(scalar: u8) -> IdentityPublic {
        IdentityKey::from_bytes(&[scalar; 32]).unwrap().public().clone()
    }

    fn name(text: &str) -> PeerName {
        text.parse().unwrap()
    }

    fn line(name: &str, scalar: u8) -> String {
        format!("{name} {}", key(scalar).to_openssh())
    }

    fn failure(text: &str) -> (usize, ParseErrorKind) {
        let error = KnownPeers::parse(text).unwrap_err();
        assert!(error.to_string().starts_with(&format!("line {}: ", error.line)), "{error}");
        (error.line, error.kind)
    }

    #[test]
    fn a_file_reads_back_with_its_comments() {
        let text = format!(
            "# ward 7\n\n{} Gerät am Bett, 2027\n@revoked {}\n  \n# the end\n{}\n",
            line("bed-3", 1),
            line("old_gateway", 2),
            line("a.b@c", 3),
        );
        let known = KnownPeers::parse(&text).unwrap();
        assert_eq!(known.to_string(), text);
        let bed = known.by_name(&name("bed-3")).unwrap();
        assert_eq!((bed.comment.as_deref(), bed.revoked), (Some("Gerät am Bett, 2027"), false));
        assert!(known.by_key(&key(2)).unwrap().revoked);
        assert_eq!(known.by_id(key(3).id()).unwrap().name, name("a.b@c"));
        assert_eq!(known.iter().count(), 3);
    }

    #[test]
    fn spaces_and_line_ends_of_other_editors_are_read() {
        let text = format!("@revoked \t{}   two  words \r\n", line("bed-3", 1).replace(' ', "  "));
        let known = KnownPeers::parse(&text).unwrap();
        assert_eq!(known.to_string(), format!("@revoked {} two  words\n", line("bed-3", 1)));
    }

    #[test]
    fn half_a_line_is_an_error_with_its_number() {
        let whole = line("bed-3", 1);
        for cut in 1..whole.len() {
            let text = format!("# comment\n{}\n{}", line("other", 2), &whole[..cut]);
            let (number, kind) = failure(&text);
            assert_eq!(number, 3, "{cut}");
            assert!(matches!(kind, ParseErrorKind::Key(_)), "{cut}: {kind:?}");
        }
        assert_eq!(failure("@revoked").1, ParseErrorKind::Name(InvalidName));
        assert_eq!(failure(&format!("@banned {whole}")).1, ParseErrorKind::Marker("@banned".to_owned()));
    }

    #[test]
    fn a_name_that_could_fool_a_terminal_is_an_error_with_its_line() {
        let (number, kind) = failure(&format!("{}\na\x1b[31m {}\n", line("ok", 1), key(2).to_openssh()));
        assert_eq!((number, kind), (2, ParseErrorKind::Name(InvalidName)));
    }

    #[test]
    fn a_name_and_a_key_stand_once() {
        let (number, kind) = failure(&format!("{}\n{}\n", line("bed-3", 1), line("bed-3", 2)));
        assert!(matches!((number, kind), (2, ParseErrorKind::Duplicate(Conflict::Name(_)))));
        let (number, kind) = failure(&format!("{}\n@revoked {}\n", line("bed-3", 1), line("bed-4", 1)));
        assert!(matches!((number, kind), (2, ParseErrorKind::Duplicate(Conflict::Key(_)))));
    }

    #[test]
    fn edits_touch_their_own_line_only() {
        let text = format!("# top\n{} mine\n# middle\n{}\n", line("bed-3", 1), line("bed-4", 2));
        let mut known = KnownPeers::parse(&text).unwrap();
        assert!(matches!(known.replace(&name("bed-3"), key(2)), Err(Conflict::Key(_))));
        assert_eq!(known.to_string(), text, "a failed call changes nothing");
        assert!(known.revoke(&name("bed-3")));
        assert!(!known.revoke(&name("nobody")));
        assert_eq!(known.replace(&name("bed-3"), key(3)), Ok(Some(key(1))));
        assert_eq!(known.by_key(&key(1)), None);
        assert!(!known.by_key(&key(3)).unwrap().revoked, "a new key is a new start");
        assert_eq!(known.remove(&name("bed-4")).unwrap().key, key(2));
        assert_eq!(known.remove(&name("bed-4")), None);
        assert_eq!(known.to_string(), format!("# top\n{} mine\n# middle\n", line("bed-3", 3)));
    }
}
