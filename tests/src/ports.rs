//! Free ports for the processes under test.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};

/// Ports lie below the range from which the kernel takes ports for outgoing connections: a node that was killed must find its
/// own port free when it comes back.
const FIRST: u32 = 10_000;
const COUNT: u32 = 20_000;

/// A port on which nobody listens, never given out twice by this process.
pub fn free_port() -> u16 {
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    for _ in 0..COUNT {
        // Two test processes at once start at different places.
        let offset = std::process::id()
            .wrapping_mul(97)
            .wrapping_add(TAKEN.fetch_add(1, Ordering::Relaxed));
        let port = u16::try_from(FIRST + offset % COUNT).expect("the range ends below 65536");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port between {FIRST} and {}", FIRST + COUNT);
}
