//! How a program runs: on one thread, its main loop a task like the link's.

use std::panic::resume_unwind;

use tokio::runtime::Builder;

use crate::exit::Outcome;

/// Runs a program's main loop to its end.
///
/// It is a task, and not the future that the runtime is given: that one has its turn only after the runtime has asked the
/// kernel what else there is, a system call for each message.
///
/// # Errors
/// As the program, or if there can be no runtime.
///
/// # Panics
/// If the program does.
pub fn run<T: Send + 'static>(program: impl Future<Output = Outcome<T>> + Send + 'static) -> Outcome<T> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let ended = runtime.block_on(async { tokio::spawn(program).await });
    // A thread of its own, which reads the input for one, may still be waiting.
    runtime.shutdown_background();
    ended.unwrap_or_else(|panicked| resume_unwind(panicked.into_panic()))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use super::*;
    use crate::exit::{Exit, Failure};

    #[test]
    fn it_ends_as_the_program_does() {
        assert_eq!(run(async { Ok(7) }).unwrap(), 7);
        let failure = Failure::new(Exit::TimedOut, "the time is up");
        let failed = failure.clone();
        assert_eq!(run::<()>(async { Err(failed) }), Err(failure));
        let panicked = std::panic::catch_unwind(|| run::<()>(async { panic!("as the program") })).unwrap_err();
        assert_eq!(panicked.downcast_ref::<&str>(), Some(&"as the program"));
    }
}
