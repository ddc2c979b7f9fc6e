//! What a step of a measurement gives: its value, or a sentence that says what is missing.

/// Why a number cannot be had. It ends one row or section, never the whole.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A value, or why it cannot be had.
pub type Outcome<T> = Result<T, Failure>;
