//! `-m TEXT`: one reading from the command line.

use securemqtt_cli::exit::{Exit, Failure, Outcome};

use super::{Item, Reading, Source, not_json};

/// Gives the same text for ever; the pump counts.
#[derive(Debug)]
pub struct MessageSource {
    payload: Vec<u8>,
}

impl MessageSource {
    /// Takes the text.
    ///
    /// # Errors
    /// It is not JSON, and need be.
    pub fn new(text: &str, raw: bool) -> Outcome<Self> {
        let payload = text.as_bytes().to_vec();
        match not_json(&payload).filter(|_| !raw) {
            Some(why) => Err(Failure::new(Exit::BadData, format!("--message: {why}"))
                .hint("quote it for the shell, as in -m '{\"spo2\": 98}', or add --raw")),
            None => Ok(Self { payload }),
        }
    }
}

impl Source for MessageSource {
    fn next(&mut self) -> Outcome<Option<Item>> {
        Ok(Some(Item::Reading(Reading { line: None, payload: self.payload.clone() })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_is_not_json_needs_raw() {
        let refused = MessageSource::new("hello", false);
        assert_eq!(refused.map(drop).map_err(|f| f.exit()), Err(Exit::BadData));
        assert!(MessageSource::new("hello", true).is_ok());
        assert!(MessageSource::new("{\"spo2\": 98}", false).is_ok());
    }
}
