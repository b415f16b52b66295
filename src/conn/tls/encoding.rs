//! What both ends take from rustls: its bytes to send, and how much a key may protect.

use rustls::unbuffered::{EncodeError, EncodeTlsData, UnbufferedConnectionCommon};

/// Records that one key of the connection may protect.
pub(super) fn records_max<T>(connection: &UnbufferedConnectionCommon<T>) -> u64 {
    match connection.negotiated_cipher_suite() {
        Some(rustls::SupportedCipherSuite::Tls13(suite)) => suite.common.confidentiality_limit,
        Some(rustls::SupportedCipherSuite::Tls12(suite)) => suite.common.confidentiality_limit,
        None => 0,
    }
}

/// Appends what rustls has to send.
pub(super) fn encode_to<T>(mut encode: EncodeTlsData<'_, T>, output: &mut Vec<u8>) -> Result<(), rustls::Error> {
    let start = output.len();
    let needed = match encode.encode(&mut []) {
        Err(EncodeError::InsufficientSize(error)) => error.required_size,
        Ok(_) => return Ok(()),
        Err(EncodeError::AlreadyEncoded) => return Err(rustls::Error::EncryptError),
    };
    output.resize(start + needed, 0);
    encode.encode(&mut output[start..]).map(drop).map_err(|_| rustls::Error::EncryptError)
}
