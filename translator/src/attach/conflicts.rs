//! Listeners that cannot stand side by side. The one written first keeps its place.

use super::hostname;
use super::listener::{ListenerProblem, Protocol};
use super::plan::{PlannedListener, by_port};

pub(crate) fn mark(listeners: &mut [PlannedListener]) {
    for members in by_port(listeners).into_values() {
        let mut standing: Vec<usize> = Vec::new();
        for index in members {
            let conflict = standing.iter().find_map(|other| between(&listeners[*other], &listeners[index]));
            match conflict {
                Some((reason, message)) => {
                    let path = listeners[index].path.clone();
                    listeners[index].problems.push(ListenerProblem::new("Conflicted", reason, path, message));
                }
                None => standing.push(index),
            }
        }
    }
}

/// Protocols that share a port are told apart by TLS: plain HTTP and raw TCP by nothing.
fn family(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Http => 0,
        Protocol::Https | Protocol::TlsPassthrough | Protocol::TlsTerminate => 1,
        Protocol::Tcp => 2,
        Protocol::Udp => 3,
        Protocol::Unknown => 4,
    }
}

fn between(first: &PlannedListener, second: &PlannedListener) -> Option<(&'static str, String)> {
    let name = &first.id.section;
    if family(first.protocol) != family(second.protocol) {
        return Some(("ProtocolConflict", format!("listener {name} has port {} with another protocol", first.port)));
    }
    let same_host = hostname::specificity(first.hostname.as_deref())
        == hostname::specificity(second.hostname.as_deref())
        && first.hostname == second.hostname;
    if same_host {
        return Some(("HostnameConflict", format!("listener {name} has port {} with the same hostname", first.port)));
    }
    // Without a hostname to tell them apart, only one raw listener fits on a port.
    matches!(first.protocol, Protocol::Tcp | Protocol::Udp)
        .then(|| ("ProtocolConflict", format!("listener {name} has port {}", first.port)))
}
