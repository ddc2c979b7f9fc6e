//! Topic names and filters (MQTT 5, section 4.7) and the control topics of the protocol.

use std::fmt;

use crate::identity::PeerId;

/// The prefix of every control topic.
pub const CONTROL_PREFIX: &str = "securemqtt/v1/";
/// A topic's limit: two length bytes in MQTT.
pub const MAX_TOPIC_LEN: usize = 65_535;

/// Why a topic or filter cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidTopic {
    /// It is empty.
    Empty,
    /// More than 65,535 bytes.
    TooLong,
    /// `+` or `#` in a topic that is published to.
    Wildcard,
    /// U+0000 or another control character.
    ControlCharacter,
    /// `+` or `#` where a filter may not have it.
    WildcardPlace,
    /// A `$share/…` filter: refused for now.
    Shared,
    /// A topic under `securemqtt/v1/`, which belongs to the protocol.
    Reserved,
}

impl fmt::Display for InvalidTopic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "it is empty",
            Self::TooLong => "it is longer than 65,535 bytes",
            Self::Wildcard => "a topic to publish to cannot contain + or #",
            Self::ControlCharacter => "it contains a control character",
            Self::WildcardPlace => "+ must stand alone between slashes, and # alone at the end",
            Self::Shared => "shared subscriptions ($share) are not supported: each subscriber must see every frame",
            Self::Reserved => "topics under securemqtt/v1/ belong to the key exchange; choose another",
        })
    }
}

impl std::error::Error for InvalidTopic {}

fn validate_text(text: &str) -> Result<(), InvalidTopic> {
    match text {
        "" => Err(InvalidTopic::Empty),
        long if long.len() > MAX_TOPIC_LEN => Err(InvalidTopic::TooLong),
        text if text.chars().any(char::is_control) => Err(InvalidTopic::ControlCharacter),
        _ => Ok(()),
    }
}

/// Checks a topic that readings are published to.
///
/// # Errors
/// [`InvalidTopic`] says what is wrong.
pub fn validate_topic(topic: &str) -> Result<(), InvalidTopic> {
    validate_text(topic)?;
    if topic.contains(['+', '#']) {
        return Err(InvalidTopic::Wildcard);
    }
    if topic.starts_with(CONTROL_PREFIX) {
        return Err(InvalidTopic::Reserved);
    }
    Ok(())
}

/// Checks a filter that is subscribed to.
///
/// # Errors
/// [`InvalidTopic`] says what is wrong.
pub fn validate_filter(filter: &str) -> Result<(), InvalidTopic> {
    validate_text(filter)?;
    if filter.starts_with("$share/") {
        return Err(InvalidTopic::Shared);
    }
    let mut levels = filter.split('/').peekable();
    while let Some(level) = levels.next() {
        let hash_misplaced = level.contains('#') && (level != "#" || levels.peek().is_some());
        if hash_misplaced || (level.contains('+') && level != "+") {
            return Err(InvalidTopic::WildcardPlace);
        }
    }
    Ok(())
}

/// Whether a (valid) filter matches a topic. A wildcard at the start does not match `$…` topics.
pub fn filter_matches(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut levels = topic.split('/');
    let mut wanted = filter.split('/').peekable();
    while let Some(pattern) = wanted.next() {
        match (pattern, levels.next()) {
            ("#", _) => return true,
            ("+", Some(_)) => {}
            (pattern, Some(level)) if pattern == level => {}
            _ => return false,
        }
        // `a/#` matches `a` too.
        if wanted.peek() == Some(&"#") && levels.clone().next().is_none() {
            return true;
        }
    }
    levels.next().is_none()
}

/// The control topics of a publisher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// `securemqtt/v1/<idP>/hello`: HELLO, retained.
    Hello,
    /// `securemqtt/v1/<idP>/tick`: TICK, retained.
    Tick,
    /// `securemqtt/v1/<idP>/in`: all that subscribers send.
    In,
    /// `securemqtt/v1/<idP>/to/<idS>`: GRANT and RETRY.
    To(PeerId),
    /// `securemqtt/v1/<idP>/keys/<idS>`: KEYS, retained.
    Keys(PeerId),
}

impl Control {
    /// The topic of this kind for one publisher.
    pub fn topic(&self, publisher: PeerId) -> String {
        match self {
            Self::Hello => format!("{CONTROL_PREFIX}{publisher}/hello"),
            Self::Tick => format!("{CONTROL_PREFIX}{publisher}/tick"),
            Self::In => format!("{CONTROL_PREFIX}{publisher}/in"),
            Self::To(subscriber) => format!("{CONTROL_PREFIX}{publisher}/to/{subscriber}"),
            Self::Keys(subscriber) => format!("{CONTROL_PREFIX}{publisher}/keys/{subscriber}"),
        }
    }

    /// Reads a control topic back; `None` when it is not one.
    pub fn parse(topic: &str) -> Option<(PeerId, Self)> {
        let mut levels = topic.strip_prefix(CONTROL_PREFIX)?.split('/');
        let publisher = levels.next()?.parse().ok()?;
        let control = match (levels.next()?, levels.next(), levels.next()) {
            ("hello", None, None) => Self::Hello,
            ("tick", None, None) => Self::Tick,
            ("in", None, None) => Self::In,
            ("to", Some(id), None) => Self::To(id.parse().ok()?),
            ("keys", Some(id), None) => Self::Keys(id.parse().ok()?),
            _ => return None,
        };
        Some((publisher, control))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_that_cannot_be_published_to_are_refused() {
        for (topic, why) in [
            ("", InvalidTopic::Empty),
            ("a/+/b", InvalidTopic::Wildcard),
            ("a/#", InvalidTopic::Wildcard),
            ("a\0b", InvalidTopic::ControlCharacter),
            ("a\x1b[31m", InvalidTopic::ControlCharacter),
            ("securemqtt/v1/x", InvalidTopic::Reserved),
        ] {
            assert_eq!(validate_topic(topic), Err(why), "{topic:?}");
        }
        assert_eq!(validate_topic(&"x".repeat(65_536)), Err(InvalidTopic::TooLong));
        assert_eq!(validate_topic("telemetry/ward 7/bett-3"), Ok(()));
    }

    #[test]
    fn filters_follow_section_4_7_of_mqtt_5() {
        for filter in ["#", "+", "a/+/b", "a/#", "/", "+/+", "a//b"] {
            assert_eq!(validate_filter(filter), Ok(()), "{filter}");
        }
        for filter in ["a#", "a/#/b", "a+/b", "#/a"] {
            assert_eq!(validate_filter(filter), Err(InvalidTopic::WildcardPlace), "{filter}");
        }
        assert_eq!(validate_filter("$share/g/a"), Err(InvalidTopic::Shared));
    }

    #[test]
    fn matching_follows_section_4_7_of_mqtt_5() {
        for (filter, topic) in [
            ("#", "a/b"),
            ("a/#", "a"),
            ("a/#", "a/b/c"),
            ("a/+", "a/b"),
            ("+/b", "a/b"),
            ("a/+/c", "a/b/c"),
            ("/+", "/x"),
            ("a/+", "a/"),
            ("a", "a"),
        ] {
            assert!(filter_matches(filter, topic), "{filter} {topic}");
        }
        for (filter, topic) in [
            ("a/+", "a"),
            ("a/+", "a/b/c"),
            ("a", "a/b"),
            ("a/b", "a"),
            ("#", "$SYS/x"),
            ("+/x", "$SYS/x"),
            ("a/#", "ab"),
        ] {
            assert!(!filter_matches(filter, topic), "{filter} {topic}");
        }
    }

    #[test]
    fn control_topics_read_back() {
        let p = PeerId::from_bytes([0xab; 16]);
        let s = PeerId::from_bytes([1; 16]);
        for control in [Control::Hello, Control::Tick, Control::In, Control::To(s), Control::Keys(s)] {
            assert_eq!(Control::parse(&control.topic(p)), Some((p, control)));
        }
        for bad in [
            "securemqtt/v1/xyz/hello",
            "securemqtt/v2/ab/hello",
            "telemetry/a",
            &format!("{}/x", Control::Hello.topic(p)),
        ] {
            assert_eq!(Control::parse(bad), None, "{bad}");
        }
    }
}
