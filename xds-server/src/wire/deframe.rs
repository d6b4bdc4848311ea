//! gRPC messages out of a byte stream.

use bytes::{Buf, Bytes, BytesMut};

use crate::Error;

/// How much room is made for a message before it is there.
const MOST_AHEAD: usize = 256 << 10;
const HEAD: usize = 5;

/// An idle stream holds no buffer, and what comes in one piece is not copied.
#[derive(Debug, Default)]
pub(super) struct Deframer {
    /// What has arrived and was not looked at.
    piece: Bytes,
    /// The beginning of a message that did not come in one piece.
    begun: BytesMut,
}

impl Deframer {
    /// What was pushed before has been taken, as far as it goes.
    pub(super) fn push(&mut self, bytes: Bytes) {
        if self.begun.is_empty() && self.piece.is_empty() {
            self.piece = bytes;
        } else {
            self.begun.extend_from_slice(&bytes);
        }
    }

    /// The next whole message. One longer than the limit is refused before it is read.
    pub(super) fn next(&mut self, limit: usize) -> Result<Option<Bytes>, Error> {
        if self.begun.is_empty() {
            if let Some(length) = length(&self.piece, limit)?
                && self.piece.len() - HEAD >= length
            {
                self.piece.advance(HEAD);
                return Ok(Some(self.piece.split_to(length)));
            }
            self.begun = BytesMut::from(&*std::mem::take(&mut self.piece));
        }
        let Some(length) = length(&self.begun, limit)? else { return Ok(None) };
        if self.begun.len() - HEAD < length {
            // At once, but no more than has a chance to come soon: the length is only what the client says.
            self.begun.reserve((length + HEAD - self.begun.len()).min(MOST_AHEAD));
            return Ok(None);
        }
        self.begun.advance(HEAD);
        let message = self.begun.split_to(length).freeze();
        if self.begun.is_empty() {
            self.begun = BytesMut::new();
        }
        Ok(Some(message))
    }
}

/// The length that the first bytes of a message say; none while they are not all there.
fn length(bytes: &[u8], limit: usize) -> Result<Option<usize>, Error> {
    let Some(head) = bytes.first_chunk::<HEAD>() else { return Ok(None) };
    let [compressed, length @ ..] = *head;
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if compressed != 0 {
        return Err(Error::InvalidRequest("compressed messages are not served".into()));
    }
    if length > limit {
        return Err(Error::TooMuch(format!("a message of {length} bytes is over the limit of {limit}")));
    }
    Ok(Some(length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(message: &[u8]) -> Vec<u8> {
        let mut frame = vec![0];
        frame.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
        frame.extend(message);
        frame
    }

    #[test]
    fn messages_come_out_whole_however_they_are_cut() {
        let messages: [&[u8]; 4] = [b"one", b"", b"the third", b"four"];
        let stream: Vec<u8> = messages.iter().flat_map(|message| framed(message)).collect();
        for size in 1..=stream.len() {
            let (mut deframer, mut found) = (Deframer::default(), Vec::new());
            for piece in stream.chunks(size) {
                deframer.push(Bytes::copy_from_slice(piece));
                while let Some(message) = deframer.next(100).unwrap() {
                    found.push(message);
                }
            }
            assert_eq!(found, messages, "in pieces of {size}");
            assert!(deframer.piece.is_empty() && deframer.begun.capacity() == 0, "nothing is held");
        }
    }

    #[test]
    fn what_is_too_long_is_refused_by_its_head() {
        let mut deframer = Deframer::default();
        deframer.push(Bytes::from_static(&[0, 0, 0, 0, 101]));
        assert!(deframer.next(100).is_err());
        let mut deframer = Deframer::default();
        deframer.push(Bytes::from_static(&[1, 0, 0, 0, 1]));
        assert!(deframer.next(100).is_err());
    }
}
