//! How many QoS 1 publishes are under way at once.
//!
//! A full window opens again when a quarter of it is free, not at each acknowledgement: publishes then leave by the dozen in
//! one packet of the network, where each would otherwise cost a system call and a wake on both sides (the silly window of
//! RFC 9293, section 3.8.6.2.1). A window that is not full delays nothing.

/// The window of one connection.
#[derive(Debug)]
pub(super) struct Window {
    size: usize,
    is_full: bool,
}

impl Window {
    /// A window of so many publishes.
    pub(super) fn new(size: u16) -> Self {
        Self { size: usize::from(size.max(1)), is_full: false }
    }

    /// Whether one more may go while so many are under way; carefully means one at a time.
    pub(super) fn is_open(&mut self, under_way: usize, carefully: bool) -> bool {
        let size = if carefully { 1 } else { self.size };
        if under_way >= size {
            self.is_full = true;
        } else if under_way <= size - (size / 4).max(1) {
            self.is_full = false;
        }
        !self.is_full
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_window_opens_when_a_quarter_is_free() {
        let mut window = Window::new(100);
        assert!((0..100).all(|under_way| window.is_open(under_way, false)));
        assert!((76..=100).rev().all(|under_way| !window.is_open(under_way, false)));
        assert!((75..100).all(|under_way| window.is_open(under_way, false)), "and then it fills again");
    }

    #[test]
    fn the_smallest_windows_open_too() {
        for size in 0..5_u16 {
            let mut window = Window::new(size);
            let size = usize::from(size.max(1));
            assert!(window.is_open(size - 1, false) && !window.is_open(size, false) && window.is_open(size - 1, false));
        }
    }

    #[test]
    fn carefully_is_one_at_a_time() {
        let mut window = Window::new(100);
        assert!(window.is_open(0, true) && !window.is_open(1, true) && !window.is_open(50, true));
        assert!(window.is_open(0, true) && window.is_open(50, false));
    }
}
