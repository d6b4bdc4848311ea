//! gRPC messages out of a byte stream.

use bytes::{Buf, Bytes, BytesMut};

use crate::Error;

/// How much room is made for a message before it is there.
const MOST_AHEAD: usize = 256 << 10;

#[derive(Debug, Default)]
pub(super) struct Deframer {
    buffer: BytesMut,
}

impl Deframer {
    pub(super) fn push(&mut self, bytes: &Bytes) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message. One longer than the limit is refused before it is read.
    pub(super) fn next(&mut self, limit: usize) -> Result<Option<Bytes>, Error> {
        let Some(head) = self.buffer.get(..5) else { return Ok(None) };
        let (compressed, length) = (head[0] != 0, [head[1], head[2], head[3], head[4]]);
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if compressed {
            return Err(Error::InvalidRequest("compressed messages are not served".into()));
        }
        if length > limit {
            return Err(Error::TooMuch(format!("a message of {length} bytes is over the limit of {limit}")));
        }
        if self.buffer.len() - 5 < length {
            // At once, but no more than has a chance to come soon: the length is only what the client says.
            self.buffer.reserve((length + 5 - self.buffer.len()).min(MOST_AHEAD));
            return Ok(None);
        }
        self.buffer.advance(5);
        let message = self.buffer.split_to(length).freeze();
        if self.buffer.is_empty() {
            // An idle stream holds no buffer.
            self.buffer = BytesMut::new();
        }
        Ok(Some(message))
    }
}
