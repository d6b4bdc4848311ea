//! A name server for which every name is one address of this machine.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

const HEADER: usize = 12;
const TYPE_A: u16 = 1;

/// Answers questions for IPv4 addresses with one of this machine, all others with nothing.
#[derive(Debug)]
pub struct Dns {
    pub port: u16,
    asked: Arc<Mutex<BTreeSet<String>>>,
    task: JoinHandle<()>,
}

impl Dns {
    /// Every name is 127.0.0.1.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_with(Ipv4Addr::LOCALHOST).await
    }

    pub async fn start_with(address: Ipv4Addr) -> anyhow::Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = socket.local_addr()?.port();
        let asked = Arc::new(Mutex::new(BTreeSet::new()));
        let names = asked.clone();
        let task = tokio::spawn(async move {
            let mut buffer = [0; 512];
            while let Ok((length, asker)) = socket.recv_from(&mut buffer).await {
                if let Ok((name, answer)) = answer(&buffer[..length], address) {
                    names.lock().unwrap_or_else(PoisonError::into_inner).insert(name);
                    let _ = socket.send_to(&answer, asker).await;
                }
            }
        });
        Ok(Self { port, asked, task })
    }

    /// Whether it was asked for a name.
    #[must_use]
    pub fn was_asked_for(&self, name: &str) -> bool {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).contains(name)
    }

    /// What makes an Envoy ask it: a part of its bootstrap.
    #[must_use]
    pub fn resolver(&self) -> String {
        format!(
            "typed_dns_resolver_config:
  name: envoy.network.dns_resolver.cares
  typed_config:
    '@type': type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig
    resolvers: [{{socket_address: {{address: 127.0.0.1, port_value: {}}}}}]
    dns_resolver_options: {{no_default_search_domain: true}}
",
            self.port
        )
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The name that is asked for, and the answer.
fn answer(question: &[u8], address: Ipv4Addr) -> anyhow::Result<(String, Vec<u8>)> {
    let mut end = HEADER;
    let mut labels = Vec::new();
    loop {
        let label = usize::from(*question.get(end).context("the name ends too early")?);
        labels.extend(question.get(end + 1..end + 1 + label).filter(|label| !label.is_empty()));
        end += 1 + label;
        if label == 0 {
            break;
        }
    }
    let kind = question.get(end..end + 2).context("no type")?;
    let asked = question.get(HEADER..end + 4).context("no class")?;
    let found = kind == TYPE_A.to_be_bytes();
    let mut answer = question[..2].to_vec();
    // An answer without an error, recursion desired and available; one question, as many answers as were found.
    answer.extend([0x81, 0x80, 0, 1, 0, u8::from(found), 0, 0, 0, 0]);
    answer.extend(asked);
    if found {
        // The name of the question, type A, class IN, good for five minutes, four bytes.
        answer.extend([0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 1, 44, 0, 4]);
        answer.extend(address.octets());
    }
    let labels: Vec<_> = labels.into_iter().map(String::from_utf8_lossy).collect();
    Ok((labels.join("."), answer))
}
