//! What a process listens on, by what Linux says in `/proc`.

use std::collections::HashSet;
use std::fs;

/// As `/proc/net/tcp` and `tcp6` write the addresses of this machine to itself.
const LOOPBACK: [&str; 3] = ["0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F"];

/// The state of a socket that waits for connections.
const LISTENS: &str = "0A";

/// The addresses, in hexadecimal, at which others than this machine could reach the process.
pub(super) fn open_to_others(pid: u32) -> Vec<String> {
    let sockets = sockets(pid);
    let tables = ["tcp", "tcp6"].map(|table| fs::read_to_string(format!("/proc/net/{table}")).unwrap_or_default());
    let mut open = Vec::new();
    for line in tables.iter().flat_map(|table| table.lines().skip(1)) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, local, _, state, _, _, _, _, _, inode, ..] = fields[..] else { continue };
        let address = local.split(':').next().unwrap_or_default();
        if state == LISTENS && sockets.contains(inode) && !LOOPBACK.contains(&address) {
            open.push(local.to_owned());
        }
    }
    open
}

/// The inodes of its sockets.
fn sockets(pid: u32) -> HashSet<String> {
    let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else { return HashSet::new() };
    let links = files.filter_map(|file| fs::read_link(file.ok()?.path()).ok());
    links.filter_map(|link| Some(link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())).collect()
}

#[cfg(target_os = "linux")]
#[test]
fn a_listener_on_another_address_is_found_and_one_on_ours_is_not() {
    let _own = std::net::TcpListener::bind((crate::broker::HOST, 0)).unwrap();
    assert_eq!(open_to_others(std::process::id()), [""; 0]);
    // The harmless one among all others.
    let _other = std::net::TcpListener::bind("127.0.0.2:0").unwrap();
    assert_eq!(open_to_others(std::process::id()).len(), 1);
}
