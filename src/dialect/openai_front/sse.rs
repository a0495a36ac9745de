//! One event of a stream.

use serde::Serialize;

/// The end of a stream of chunks.
pub(super) const DONE: &[u8] = b"data: [DONE]\n\n";

/// Writes an event without a name.
pub(super) fn write(data: &impl Serialize, out: &mut Vec<u8>) {
    let begun = out.len();
    out.extend_from_slice(b"data: ");
    match serde_json::to_writer(&mut *out, data) {
        Ok(()) => out.extend_from_slice(b"\n\n"),
        // Nothing we write can fail; half an event must not stay all the same.
        Err(_) => out.truncate(begun),
    }
}

/// Writes one with a name.
pub(super) fn write_named(name: &str, data: &impl Serialize, out: &mut Vec<u8>) {
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(name.as_bytes());
    out.push(b'\n');
    write(data, out);
}
