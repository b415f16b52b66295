//! Addresses as the kernel writes them.

use rustix::net::SocketAddrAny;
use std::net::{SocketAddr, SocketAddrV6};

/// Room for an address of either family of IP.
pub(super) const IP_ADDRESS_MAX_BYTES: usize = size_of::<libc::sockaddr_in6>();

/// Reads an IP address as the kernel wrote it; `None` for another family, and for less than a whole address.
pub(super) fn read_ip_address(bytes: &[u8]) -> Option<SocketAddr> {
    let family = u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?);
    let least = match i32::from(family) {
        libc::AF_INET => size_of::<libc::sockaddr_in>(),
        libc::AF_INET6 => size_of::<libc::sockaddr_in6>(),
        _ => return None,
    };
    let bytes = bytes.get(..least)?;
    // SAFETY: the bytes are initialised and as many as an address of this family has; any of them make an address.
    let address = unsafe { SocketAddrAny::read(bytes.as_ptr().cast(), least as u32) };
    Some(match SocketAddr::try_from(address).ok()? {
        // An IPv4 peer of a dual-stack listener is shown, and matched by rules, as the IPv4 address that it is.
        SocketAddr::V6(v6) => match v6.ip().to_ipv4_mapped() {
            Some(v4) => SocketAddr::from((v4, v6.port())),
            None => SocketAddrV6::new(*v6.ip(), v6.port(), 0, v6.scope_id()).into(),
        },
        v4 @ SocketAddr::V4(_) => v4,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_the_kernel_writes_them() {
        let v4 = [2, 0, 0x07, 0x5b, 10, 1, 2, 3, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(read_ip_address(&v4), Some("10.1.2.3:1883".parse().unwrap()));
        let mut v6 = [0; 28];
        v6[..4].copy_from_slice(&[10, 0, 0x07, 0x5b]);
        v6[8..24].copy_from_slice(&"2001:db8::1".parse::<std::net::Ipv6Addr>().unwrap().octets());
        assert_eq!(read_ip_address(&v6), Some("[2001:db8::1]:1883".parse().unwrap()));
        v6[8..24].copy_from_slice(&"::ffff:10.1.2.3".parse::<std::net::Ipv6Addr>().unwrap().octets());
        assert_eq!(read_ip_address(&v6), Some("10.1.2.3:1883".parse().unwrap()));
        for short in [&v6[..27], &v4[..15], &v4[..1], &[], &[1, 0, 0, 0]] {
            assert_eq!(read_ip_address(short), None, "{short:?}");
        }
    }
}
