//! Which addresses may be fetched. Default deny: an address is public only when it is known to be.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use domain::settings::FetchSettings;
use ipnet::IpNet;
use url::{Host, Url};

use crate::FetchError;

/// Longest address that is taken, in bytes.
const MAX_URL_BYTES: usize = 2_048;

/// An address whose host is resolved and judged. Only [`crate::Client::judge`] makes one.
#[derive(Debug, Clone)]
pub struct Target {
    url: Url,
    addresses: Vec<SocketAddr>,
}

impl Target {
    /// The address.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Another path of the same site, which needs no further judging.
    #[must_use]
    pub fn at_path(&self, path: &str) -> Self {
        let mut url = self.url.clone();
        url.set_path(path);
        url.set_query(None);
        url.set_fragment(None);
        Self { url, addresses: self.addresses.clone() }
    }

    /// Where it is, every address judged.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }
}

/// Checks an address as far as that goes without the network: scheme, port, user info, literal hosts,
/// `localhost`. The normalised address, without its fragment; `FETCH_REFUSED` says why not.
pub fn check_url(text: &str, settings: &FetchSettings) -> Result<Url, FetchError> {
    let allow = &settings.allow;
    let text = text.trim();
    if text.len() > MAX_URL_BYTES {
        return Err(FetchError::refused(format!(
            "the address is longer than {MAX_URL_BYTES} bytes; give a shorter one"
        )));
    }
    let mut url = Url::parse(text).map_err(|_| {
        FetchError::refused("not a valid address; give one such as https://example.com/page")
    })?;
    url.set_fragment(None);
    check_parsed(&url, allow)?;
    Ok(url)
}

/// As `check_url`, for an address that is parsed already.
fn check_parsed(url: &Url, allow: &[IpNet]) -> Result<(), FetchError> {
    if !matches!(url.scheme(), "http" | "https") {
        return Err(FetchError::refused("only http and https addresses are fetched"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(FetchError::refused("take the user name and password out of the address"));
    }
    let ordinary_port = has_ordinary_port(url);
    match literal_addresses(url)? {
        Some(addresses) => judge(&addresses, ordinary_port, allow).map(|_| ()),
        // A name may turn out to be on the allow-list, where any port will do.
        None if ordinary_port || !allow.is_empty() => Ok(()),
        None => Err(FetchError::refused_port()),
    }
}

/// Where to connect to: every address of the host, all of them judged. Resolves a name exactly once.
pub(crate) async fn resolve(url: &Url, allow: &[IpNet]) -> Result<Target, FetchError> {
    check_parsed(url, allow)?;
    let port = url.port_or_known_default().unwrap_or(80);
    let addresses = match literal_addresses(url)? {
        Some(addresses) => addresses,
        None => look_up(url.host_str().unwrap_or_default(), port).await?,
    };
    let judged = judge(&addresses, has_ordinary_port(url), allow)?;
    let addresses = judged.into_iter().map(|address| SocketAddr::new(address, port)).collect();
    Ok(Target { url: url.clone(), addresses })
}

async fn look_up(host: &str, port: u16) -> Result<Vec<IpAddr>, FetchError> {
    let found = tokio::net::lookup_host((host, port)).await;
    let addresses: Vec<IpAddr> =
        found.map(|found| found.map(|address| address.ip()).collect()).unwrap_or_default();
    if addresses.is_empty() {
        return Err(FetchError::unreachable(
            "the name of the server is not known; check the address",
        ));
    }
    Ok(addresses)
}

/// The addresses of a host that needs no look-up: a literal in any spelling (the parser has normalised
/// `0x7f000001`, `2130706433`, `127.1`, full-width digits…), and `localhost`, which is loopback whatever
/// a resolver says (RFC 6761).
fn literal_addresses(url: &Url) -> Result<Option<Vec<IpAddr>>, FetchError> {
    match url.host() {
        Some(Host::Ipv4(address)) => Ok(Some(vec![address.into()])),
        Some(Host::Ipv6(address)) => Ok(Some(vec![address.into()])),
        Some(Host::Domain(name)) => {
            let name = name.trim_end_matches('.');
            if name.is_empty() {
                return Err(FetchError::refused("the address names no server"));
            }
            let loopback = name == "localhost" || name.ends_with(".localhost");
            Ok(loopback.then(|| vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]))
        }
        None => Err(FetchError::refused("the address names no server")),
    }
}

/// The addresses when all of them may be fetched. For the two of `localhost` one is enough, since no
/// resolver had a say in them.
fn judge(
    addresses: &[IpAddr],
    ordinary_port: bool,
    allow: &[IpNet],
) -> Result<Vec<IpAddr>, FetchError> {
    let listed = |address: &IpAddr| allow.iter().any(|net| net.contains(&address.to_canonical()));
    let only_loopback = addresses.len() > 1 && addresses.iter().all(IpAddr::is_loopback);
    if only_loopback && addresses.iter().any(listed) {
        return Ok(addresses.iter().copied().filter(listed).collect());
    }
    if addresses.iter().all(listed) {
        return Ok(addresses.to_vec());
    }
    if !addresses.iter().all(|address| listed(address) || is_public(*address)) {
        return Err(FetchError::refused(
            "the address is not on the public internet; the operator can allow a network with \
             VOCERO_FETCH_ALLOW",
        ));
    }
    if !ordinary_port {
        return Err(FetchError::refused_port());
    }
    Ok(addresses.to_vec())
}

fn has_ordinary_port(url: &Url) -> bool {
    matches!(url.port_or_known_default(), Some(80 | 443))
}

/// Whether an address is on the public internet, by the IANA special-purpose registries.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => match embedded_v4(address) {
            Some(embedded) => is_public_v4(embedded),
            None => is_public_v6(address),
        },
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = match a {
        // This network, private, loopback, multicast, reserved, broadcast.
        0 | 10 | 127 | 224.. => true,
        // Carrier-grade NAT, 100.64.0.0/10.
        100 => (64..128).contains(&b),
        // Link-local.
        169 => b == 254,
        // Private, 172.16.0.0/12.
        172 => (16..32).contains(&b),
        // IETF protocol assignments, TEST-NET-1, 6to4 relays, private.
        192 => matches!((b, c), (0, 0 | 2) | (88, 99)) || b == 168,
        // Benchmarking 198.18.0.0/15, TEST-NET-2.
        198 => b == 18 || b == 19 || (b == 51 && c == 100),
        // TEST-NET-3.
        203 => b == 0 && c == 113,
        _ => false,
    };
    !special
}

/// The IPv4 address inside a mapped (`::ffff:0:0/96`) or NAT64 (`64:ff9b::/96`) one, which stand for it.
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let segments = address.segments();
    let mapped = segments[..6] == [0, 0, 0, 0, 0, 0xffff];
    let nat64 = segments[..6] == [0x64, 0xff9b, 0, 0, 0, 0];
    let [.., a, b, c, d] = address.octets();
    (mapped || nat64).then(|| Ipv4Addr::new(a, b, c, d))
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    // 2000::/3 is all that is given out as global unicast; loopback, unique local, link-local, multicast,
    // IPv4-compatible and local NAT64 addresses are all outside it.
    let global_unicast = segments[0] & 0xe000 == 0x2000;
    let special = match segments[0] {
        // IETF protocol assignments 2001::/23 (Teredo, ORCHID, benchmarking) and documentation.
        0x2001 => segments[1] < 0x0200 || segments[1] == 0x0db8,
        // 6to4.
        0x2002 => true,
        // Documentation, 3fff::/20.
        0x3fff => segments[1] < 0x1000,
        _ => false,
    };
    global_unicast && !special
}
