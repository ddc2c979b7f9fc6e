//! Giving way: what somebody else waits for goes before what nobody does.

use std::future::poll_fn;
use std::task::Poll;

/// Lets the tasks that are ready have their turn first. Unlike tokio's `yield_now`, it does not ask the kernel what else
/// there is.
pub(crate) async fn give_way() {
    let mut given = false;
    poll_fn(|context| {
        if std::mem::replace(&mut given, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_is_ready_has_its_turn_first() {
        let task = tokio::spawn(async {
            let other = tokio::spawn(async {});
            let before = other.is_finished();
            give_way().await;
            (before, other.is_finished())
        });
        assert_eq!(task.await.unwrap(), (false, true));
    }
}
