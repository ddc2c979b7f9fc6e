//! The progress bar, on a terminal only.

use std::io::{IsTerminal, stderr};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::logging::{LogArgs, LogFormat};

const TEMPLATE: &str = "{msg:14} [{bar:40}] {elapsed}";

/// How far it has come.
#[derive(Debug)]
pub(super) struct Progress(ProgressBar);

impl Progress {
    /// Nothing is shown where stderr is no terminal, or talk is not wanted.
    pub(super) fn new(log: &LogArgs) -> Self {
        let is_shown = stderr().is_terminal() && !log.quiet && log.log_format == LogFormat::Text;
        let target = if is_shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(0), target);
        if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
            bar.set_style(style.progress_chars("=> "));
        }
        Self(bar)
    }

    /// The next thing begins, with so many steps.
    pub(super) fn phase(&self, name: &'static str, steps: u64) {
        self.0.reset();
        self.0.set_message(name);
        self.0.set_length(steps);
    }

    /// So many steps are done.
    pub(super) fn at(&self, steps: u64) {
        self.0.set_position(steps);
    }

    /// Leaves the line empty.
    pub(super) fn done(&self) {
        self.0.finish_and_clear();
    }
}
