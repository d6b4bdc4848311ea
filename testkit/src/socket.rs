//! Servers below HTTP: each sends back what it gets, after its own name and a colon.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinHandle;

/// A TCP server.
#[derive(Debug)]
pub struct TcpEcho {
    pub port: u16,
    task: JoinHandle<()>,
}

impl TcpEcho {
    pub async fn start(name: &str) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let name = name.to_owned();
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(send_back(name.clone(), socket));
            }
        });
        Ok(Self { port, task })
    }
}

async fn send_back(name: String, mut socket: TcpStream) {
    let mut buffer = vec![0; 4096];
    while let Ok(length) = socket.read(&mut buffer).await {
        if length == 0 {
            return;
        }
        let answer = named(&name, &buffer[..length]);
        if socket.write_all(&answer).await.is_err() {
            return;
        }
    }
}

/// A UDP server.
#[derive(Debug)]
pub struct UdpEcho {
    pub port: u16,
    task: JoinHandle<()>,
}

impl UdpEcho {
    pub async fn start(name: &str) -> anyhow::Result<Self> {
        let socket = UdpSocket::bind(("127.0.0.1", 0)).await?;
        let port = socket.local_addr()?.port();
        let name = name.to_owned();
        let task = tokio::spawn(async move {
            let mut buffer = vec![0; 65_536];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                let _ = socket.send_to(&named(&name, &buffer[..length]), from).await;
            }
        });
        Ok(Self { port, task })
    }
}

fn named(name: &str, data: &[u8]) -> Vec<u8> {
    [name.as_bytes(), b":", data].concat()
}

/// One message over TCP to a port of 127.0.0.1, and the first answer to it.
pub async fn ask_tcp(port: u16, message: &str) -> anyhow::Result<String> {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).await?;
    socket.write_all(message.as_bytes()).await?;
    let mut buffer = vec![0; 4096];
    let length = socket.read(&mut buffer).await?;
    anyhow::ensure!(length > 0, "the connection was closed without an answer");
    Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

/// One message over UDP to a port of 127.0.0.1, and the answer; an error when none comes in time.
pub async fn ask_udp(port: u16, message: &str, within: std::time::Duration) -> anyhow::Result<String> {
    let socket = UdpSocket::bind(("127.0.0.1", 0)).await?;
    socket.connect(("127.0.0.1", port)).await?;
    socket.send(message.as_bytes()).await?;
    let mut buffer = vec![0; 4096];
    let length = tokio::time::timeout(within, socket.recv(&mut buffer)).await??;
    Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

impl Drop for TcpEcho {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Drop for UdpEcho {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A port of 127.0.0.1 that refuses connections, and is nobody else's meanwhile.
#[derive(Debug)]
pub struct Refusing {
    pub port: u16,
    _socket: tokio::net::TcpSocket,
}

impl Refusing {
    pub fn new() -> anyhow::Result<Self> {
        // Bound, and never listening.
        let socket = tokio::net::TcpSocket::new_v4()?;
        socket.bind(std::net::SocketAddr::from(([127, 0, 0, 1], 0)))?;
        Ok(Self { port: socket.local_addr()?.port(), _socket: socket })
    }
}
