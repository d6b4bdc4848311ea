//! Responses as gRPC frames.
//!
//! Entries come encoded; a message is their concatenation and a few fields of its own. Streams in step are at the same base
//! and want the same, so they share one frame: its nonce is the epoch. A frame that only one stream gets has a number
//! behind the epoch.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};

use super::Variant;
use crate::snapshot::{Entry, TypeState, put_field};

/// Sent to every client in every response, so that it shows in Envoy's own statistics.
const CONTROL_PLANE: &[u8] = b"\x0a\x08chancery";

/// The version of a response that leaves its client between states: some of the old is still held in it, or some of the new left
/// out. It is no version of a state, so a client that reconnects with it is sent the rest.
pub(super) fn between_states(state: &TypeState) -> String {
    format!("{}+", state.version)
}

pub(super) fn frame(
    state: &TypeState,
    variant: Variant,
    version: &str,
    entries: &[Arc<Entry>],
    removed: &[Arc<str>],
    nonce: &str,
) -> Bytes {
    match variant {
        Variant::Delta => delta(state, version, entries, removed, nonce),
        Variant::Sotw => sotw(state, version, entries, nonce),
    }
}

fn delta(state: &TypeState, version: &str, entries: &[Arc<Entry>], removed: &[Arc<str>], nonce: &str) -> Bytes {
    let resources: usize = entries.iter().map(|entry| entry.delta.len()).sum();
    let gone: usize = removed.iter().map(|name| name.len() + 6).sum();
    let mut message = start(resources + gone);
    put_field(1, version.as_bytes(), &mut message);
    for entry in entries {
        message.put_slice(&entry.delta);
    }
    put_field(4, state.kind.type_url().as_bytes(), &mut message);
    put_field(5, nonce.as_bytes(), &mut message);
    for name in removed {
        put_field(6, name.as_bytes(), &mut message);
    }
    put_field(7, CONTROL_PLANE, &mut message);
    finish(message)
}

fn sotw(state: &TypeState, version: &str, entries: &[Arc<Entry>], nonce: &str) -> Bytes {
    let resources: usize = entries.iter().map(|entry| entry.sotw.len()).sum();
    let mut message = start(resources);
    put_field(1, version.as_bytes(), &mut message);
    for entry in entries {
        message.put_slice(&entry.sotw);
    }
    put_field(4, state.kind.type_url().as_bytes(), &mut message);
    put_field(5, nonce.as_bytes(), &mut message);
    put_field(6, CONTROL_PLANE, &mut message);
    finish(message)
}

/// A buffer with room for the five bytes in front of every gRPC message.
fn start(content: usize) -> BytesMut {
    let mut message = BytesMut::with_capacity(content + 192);
    message.put_bytes(0, 5);
    message
}

fn finish(mut message: BytesMut) -> Bytes {
    let length = u32::try_from(message.len() - 5).unwrap_or(u32::MAX);
    message[1..5].copy_from_slice(&length.to_be_bytes());
    message.freeze()
}
