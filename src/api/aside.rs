//! Where a large body is decoded: reading megabytes takes longer than other requests on the same thread should wait.

use tokio::runtime::{Handle, RuntimeFlavor};

/// Larger bodies are decoded aside.
const DECODED_IN_PLACE_BYTES: usize = 64 << 10;

/// Decodes a body of so many bytes where no other request waits for it.
pub(super) fn aside<T>(bytes: usize, decode: impl FnOnce() -> T) -> T {
    let has_threads = Handle::try_current().is_ok_and(|handle| handle.runtime_flavor() == RuntimeFlavor::MultiThread);
    if bytes > DECODED_IN_PLACE_BYTES && has_threads { tokio::task::block_in_place(decode) } else { decode() }
}
