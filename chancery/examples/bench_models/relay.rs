//! A wire between an Envoy and its control plane that counts what comes along.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

#[derive(Debug, Default)]
struct Count {
    bytes: usize,
    /// Since the count was last taken.
    first: Option<Instant>,
    last: Option<Instant>,
}

/// What has come to the Envoy.
pub(crate) struct Relay {
    pub port: u16,
    count: Arc<Mutex<Count>>,
}

impl Relay {
    pub(crate) async fn start(to: u16) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let count: Arc<Mutex<Count>> = Arc::default();
        let counting = count.clone();
        tokio::spawn(async move {
            while let Ok((envoy, _)) = listener.accept().await {
                if let Ok(server) = TcpStream::connect(("127.0.0.1", to)).await {
                    join(envoy, server, &counting);
                }
            }
        });
        Ok(Self { port, count })
    }

    pub(crate) fn forget(&self) {
        *self.count.lock() = Count::default();
    }

    /// Bytes since [`Self::forget`], and when the first of them came; once none has come for a while.
    pub(crate) async fn settled(&self) -> (usize, Option<Instant>) {
        loop {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let count = self.count.lock();
            if count.last.is_none_or(|last| last.elapsed() > Duration::from_millis(60)) {
                return (count.bytes, count.first);
            }
        }
    }
}

fn join(envoy: TcpStream, server: TcpStream, count: &Arc<Mutex<Count>>) {
    let _ = (envoy.set_nodelay(true), server.set_nodelay(true));
    let (from_envoy, to_envoy) = envoy.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::spawn(copy(from_envoy, to_server, None));
    tokio::spawn(copy(from_server, to_envoy, Some(count.clone())));
}

async fn copy(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    count: Option<Arc<Mutex<Count>>>,
) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        if let Some(count) = &count {
            let mut count = count.lock();
            count.bytes += read;
            let now = Instant::now();
            count.first.get_or_insert(now);
            count.last = Some(now);
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
