//! Question and answer: one UDP datagram each, authenticated by HMAC-SHA256 (RFC 2104).
//!
//! A question is `magic, nonce, HMAC(magic, nonce)`, its answer `magic, nonce, id of the box,
//! HMAC(magic, nonce, id)`. The nonce is random and used once, so an old answer proves nothing; the
//! two magics differ, so a question is no answer. A stranger's question gets no answer, and a valid one
//! gets one of about its own size: nothing here can be used to flood somebody else.

use hmac::{Hmac, Mac};
use sha2::Sha256;

const QUESTION: &[u8; 8] = b"FBYask\0\x01";
const ANSWER: &[u8; 8] = b"FBYans\0\x01";
/// Bytes of a nonce.
pub const NONCE_BYTES: usize = 16;
const MAC_BYTES: usize = 32;
/// Longest datagram: an id has at most 64 bytes.
pub const DATAGRAM_BYTES_MAX: usize = 8 + NONCE_BYTES + 64 + MAC_BYTES;

/// A random number used once.
pub type Nonce = [u8; NONCE_BYTES];

/// The question with this nonce.
pub fn question(secret: &[u8], nonce: &Nonce) -> Vec<u8> {
    sealed(secret, &[QUESTION, nonce])
}

/// The nonce of a question; `None` when it is none, or comes from somebody without the secret.
pub fn read_question(secret: &[u8], datagram: &[u8]) -> Option<Nonce> {
    opened(secret, datagram)?.strip_prefix(QUESTION)?.try_into().ok()
}

/// The answer of the box `edge` to the question with this nonce.
pub fn answer(secret: &[u8], nonce: &Nonce, edge: &str) -> Vec<u8> {
    sealed(secret, &[ANSWER, nonce, edge.as_bytes()])
}

/// Who answers the question with this nonce; `None` when it is no answer to it.
pub fn read_answer<'a>(secret: &[u8], nonce: &Nonce, datagram: &'a [u8]) -> Option<&'a str> {
    let edge = opened(secret, datagram)?.strip_prefix(ANSWER)?.strip_prefix(nonce)?;
    std::str::from_utf8(edge).ok()
}

fn sealed(secret: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut datagram = parts.concat();
    if let Some(mac) = mac(secret, &datagram) {
        datagram.extend_from_slice(&mac.finalize().into_bytes());
    }
    datagram
}

fn opened<'a>(secret: &[u8], datagram: &'a [u8]) -> Option<&'a [u8]> {
    let (content, seal) = datagram.split_at_checked(datagram.len().checked_sub(MAC_BYTES)?)?;
    mac(secret, content)?.verify_slice(seal).is_ok().then_some(content)
}

fn mac(secret: &[u8], content: &[u8]) -> Option<Hmac<Sha256>> {
    // HMAC takes keys of any length.
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).ok()?;
    mac.update(content);
    Some(mac)
}
