//! Addresses of sockets that only the kernel knows: which socket a descriptor is, and what `/proc/PID/net` says of it (proc_net(5)).
//!
//! Which socket it is has to be asked while the task waits; then its inode stands for it, whatever becomes of the descriptor.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use crate::resource::Resource;
use crate::snapshot::Task;

/// Bytes of one of the kernel's tables that are looked at.
const MAX_TABLE: u64 = 64 << 20;

/// Both ends of a socket, as far as there are addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Ends {
    local: Option<Arc<str>>,
    peer: Option<Arc<str>>,
}

/// Finds the socket of a resource whose addresses are not known; whether there is one. The kernel shows descriptors of a process to those that may trace
/// it: to its own user, as long as it has no capabilities that the observer lacks. Of others nothing is known.
pub(super) fn find(pid: u32, resource: &mut Resource) -> bool {
    let Some(fd) = resource.fd else { return false };
    if resource.local.is_some() || resource.peer.is_some() {
        return false;
    }
    let link = fs::read_link(format!("/proc/{pid}/fd/{fd}")).unwrap_or_default();
    resource.socket = link.to_str().and_then(inode);
    resource.socket.is_some()
}

fn inode(link: &str) -> Option<u64> {
    link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// Says which addresses the sockets have that were found.
pub(super) fn name(pid: u32, tasks: &mut [Task]) {
    let mut wanted: HashMap<u64, Ends> = HashMap::new();
    for resource in tasks.iter_mut().filter_map(of_task) {
        wanted.extend(resource.socket.map(|socket| (socket, Ends::default())));
    }
    if wanted.is_empty() {
        return;
    }
    for (table, ends) in [
        ("tcp", of_ip as fn(&str) -> _),
        ("tcp6", of_ip),
        ("unix", of_unix),
    ] {
        let Ok(file) = File::open(format!("/proc/{pid}/net/{table}")) else {
            continue;
        };
        let lines = BufReader::new(file.take(MAX_TABLE)).lines().map_while(Result::ok);
        for (socket, ends) in lines.filter_map(|line| ends(&line)) {
            wanted.entry(socket).and_modify(|found| *found = ends);
        }
    }
    for resource in tasks.iter_mut().filter_map(of_task) {
        let ends = resource.socket.and_then(|socket| wanted.get(&socket));
        if let Some(ends) = ends.cloned() {
            (resource.local, resource.peer) = (ends.local, ends.peer);
        }
    }
}

fn of_task(task: &mut Task) -> Option<&mut Resource> {
    task.waits_on.as_mut()?.resource.as_deref_mut()
}

/// A line of `/proc/net/tcp`: local address, far address, ... and, as its tenth word, the inode.
fn of_ip(line: &str) -> Option<(u64, Ends)> {
    let mut words = line.split_whitespace().skip(1);
    let (local, peer) = (words.next()?, words.next()?);
    let inode = words.nth(6)?.parse().ok()?;
    Some((
        inode,
        Ends {
            local: address(local),
            peer: address(peer),
        },
    ))
}

/// A line of `/proc/net/unix`: the inode is its seventh word, and a path may follow.
fn of_unix(line: &str) -> Option<(u64, Ends)> {
    let mut words = line.split_whitespace().skip(6);
    let inode = words.next()?.parse().ok()?;
    let local = words.next().map(Arc::from);
    Some((inode, Ends { local, peer: None }))
}

/// An address as the kernel writes it: words of 32 bits in the machine's order, then the port. `None` for one that is not there.
fn address(text: &str) -> Option<Arc<str>> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok().filter(|port| *port != 0)?;
    let word = |start: usize| u32::from_str_radix(address.get(start..start + 8)?, 16).ok();
    let address: IpAddr = match address.len() {
        8 => Ipv4Addr::from(word(0)?.to_ne_bytes()).into(),
        32 => {
            let mut bytes = [0; 16];
            for (place, start) in bytes.chunks_exact_mut(4).zip([0, 8, 16, 24]) {
                place.copy_from_slice(&word(start)?.to_ne_bytes());
            }
            Ipv6Addr::from(bytes).into()
        }
        _ => return None,
    };
    Some(std::net::SocketAddr::new(address, port).to_string().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_kernel_tell_addresses() {
        let line = "   1: 0100007F:1F90 0200007F:D431 01 00000000:00000000 00:00000000 00000000     0        0 4242 1 0000 20 4 30 10 -1";
        let (inode, ends) = of_ip(line).expect("it is a line");
        assert_eq!(
            (inode, ends.local.as_deref(), ends.peer.as_deref()),
            (4242, Some("127.0.0.1:8080"), Some("127.0.0.2:54321"))
        );
        assert_eq!(
            address("00000000000000000000000001000000:1F90").as_deref(),
            Some("[::1]:8080")
        );
        assert_eq!(address("00000000:0000"), None);
        let unix = "0000000000000000: 00000002 00000000 00010000 0001 01 4243 /run/socket";
        let local = |line| of_unix(line).map(|(inode, ends)| (inode, ends.local.unwrap_or_default()));
        assert_eq!(local(unix), Some((4243, "/run/socket".into())));
        assert_eq!(
            local("Num       RefCount Protocol Flags    Type St Inode Path"),
            None
        );
        for junk in ["", "1:", "1: :: x", "0: zz:zz yy:yy 1 2 3 4 5 6 7 8"] {
            let found = of_ip(junk);
            assert!(found.is_none_or(|(_, ends)| ends == Ends::default()), "{junk}");
        }
    }

    #[test]
    fn a_link_tells_the_inode_of_a_socket_only() {
        assert_eq!(inode("socket:[77]"), Some(77));
        assert_eq!(inode("pipe:[77]"), None);
        assert_eq!(inode("/dev/null"), None);
    }
}
