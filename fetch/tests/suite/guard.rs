//! Which addresses are refused before anything is sent.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::{Command, Stdio};
use std::time::Duration;

use domain::settings::FetchSettings;
use fetch::check_url;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

fn settings(allow: &[&str]) -> FetchSettings {
    FetchSettings {
        allow: allow.iter().map(|net| net.parse().expect("a network")).collect(),
        max_bytes: 1_000_000,
        timeout: Duration::from_secs(10),
    }
}

#[test]
fn private_literals_are_refused_in_every_spelling() {
    for url in [
        "http://127.0.0.1/",
        "http://127.0.0.1./",
        "http://127.1/",
        "http://127.0.1/",
        "http://0x7f000001/",
        "http://0x7f.0.0.1/",
        "http://0X7F.1/",
        "http://2130706433/",
        "http://2130706433./",
        "http://0177.0.0.1/",
        "http://017700000001/",
        "http://%31%32%37.0.0.1/",
        "http://127%2e0%2e0%2e1/",
        "http://127。0。0。1/",
        "http://１２７.０.０.１/",
        "http://①②⑦.⓪.⓪.①/",
        "http://[::1]/",
        "http://[0:0:0:0:0:0:0:1]/",
        "http://[::]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:7f00:1]/",
        "http://[::127.0.0.1]/",
        "http://[64:ff9b::127.0.0.1]/",
        "http://[64:ff9b:1::127.0.0.1]/",
        "http://[2002:7f00:1::]/",
        "http://[2001:0:4136:e378:8000:63bf:3fff:fdd2]/",
        "http://[fe80::1]/",
        "http://[fec0::1]/",
        "http://[fc00::1]/",
        "http://[fd12:3456:789a::1]/",
        "http://[ff02::1]/",
        "http://[2001:db8::1]/",
        "http://[3fff::1]/",
        "http://0/",
        "http://0.0.0.0/",
        "http://10.0.0.1/",
        "http://100.64.0.1/",
        "http://169.254.169.254/latest/meta-data/",
        "http://172.16.0.1/",
        "http://172.31.255.255/",
        "http://192.168.1.1/",
        "http://192.0.0.192/",
        "http://192.0.2.1/",
        "http://198.18.0.1/",
        "http://198.51.100.1/",
        "http://203.0.113.1/",
        "http://224.0.0.1/",
        "http://240.0.0.1/",
        "http://255.255.255.255/",
        "http://localhost/",
        "http://LOCALHOST./",
        "http://ｌｏｃａｌｈｏｓｔ/",
        "http://anything.localhost/",
        "http:\\\\127.0.0.1/",
        "http:127.0.0.1/",
        "ht\ntp://127.0.\t0.1/",
    ] {
        let refusal = check_url(url, &settings(&[])).expect_err(url);
        assert_eq!(refusal.code, "FETCH_REFUSED", "{url}");
        assert!(refusal.message.contains("VOCERO_FETCH_ALLOW"), "{url}: {refusal}");
    }
}

#[test]
fn other_schemes_ports_credentials_and_nonsense_are_refused() {
    for (url, word) in [
        ("ftp://example.com/", "http"),
        ("file:///etc/passwd", "http"),
        ("gopher://example.com/", "http"),
        ("data:text/plain,hello", "http"),
        ("http://example.com:8080/", "port"),
        ("http://example.com:0/", "port"),
        ("https://1.1.1.1:6379/", "port"),
        ("http://user@example.com/", "password"),
        ("http://user:pass@example.com/", "password"),
        ("http://:pass@example.com/", "password"),
        ("example.com", "valid"),
        ("", "valid"),
        ("http://", "valid"),
        ("http://256.0.0.1/", "valid"),
        ("http://[::1%25eth0]/", "valid"),
        ("http://exa mple.com/", "valid"),
        ("http://.../", "names no server"),
    ] {
        let refusal = check_url(url, &settings(&[])).expect_err(url);
        assert_eq!(refusal.code, "FETCH_REFUSED", "{url}");
        assert!(!refusal.retry);
        assert!(refusal.message.contains(word), "{url}: {refusal}");
    }
    let long = format!("http://example.com/{}", "a".repeat(3_000));
    assert!(check_url(&long, &settings(&[])).expect_err("too long").message.contains("longer"));
}

#[test]
fn public_addresses_pass_and_are_normalised() {
    for (url, normalised) in [
        ("https://ejemplo.com/faq#precios", "https://ejemplo.com/faq"),
        (" HTTP://Example.COM:80/ ", "http://example.com/"),
        ("https://ñandú.com.ar/", "https://xn--and-6ma2c.com.ar/"),
        ("http://1.1.1.1/", "http://1.1.1.1/"),
        ("http://0x01010101/", "http://1.1.1.1/"),
        ("http://[2606:4700::1111]/", "http://[2606:4700::1111]/"),
        ("http://[::ffff:1.1.1.1]/", "http://[::ffff:101:101]/"),
        ("http://example.com:443/", "http://example.com:443/"),
    ] {
        let checked = check_url(url, &settings(&[])).expect(url);
        assert_eq!(checked.as_str(), normalised, "{url}");
    }
}

#[test]
fn the_allow_list_opens_its_networks_on_any_port_and_nothing_else() {
    let allowing = settings(&["127.0.0.0/8", "10.1.0.0/16"]);
    for url in [
        "http://127.0.0.1:8080/",
        "http://[::ffff:127.0.0.1]:9/",
        "http://10.1.2.3/",
        "http://localhost:3000/",
    ] {
        check_url(url, &allowing).expect(url);
    }
    for url in ["http://10.2.0.1/", "http://[::1]/", "http://192.168.0.1/", "http://1.1.1.1:8080/"]
    {
        check_url(url, &allowing).expect_err(url);
    }
}

/// The reference: the same rule written once more over Python's `ipaddress`, with its networks and its
/// arithmetic. Also holds that whatever Python itself does not call global is refused.
const REFERENCE: &str = r#"
import ipaddress, sys
V4 = [ipaddress.ip_network(n) for n in """0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16
172.16.0.0/12 192.0.0.0/24 192.0.2.0/24 192.88.99.0/24 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24
203.0.113.0/24 224.0.0.0/4 240.0.0.0/4""".split()]
V6 = [ipaddress.ip_network(n) for n in """::/3 4000::/2 8000::/1 2001::/23 2001:db8::/32 2002::/16
3fff::/20""".split()]
NAT64 = ipaddress.ip_network("64:ff9b::/96")
for line in sys.stdin:
    address = ipaddress.ip_address(line.strip())
    if address.version == 6:
        if address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        elif address in NAT64:
            address = ipaddress.IPv4Address(int(address) & 0xffffffff)
    refused = any(address in network for network in (V4 if address.version == 4 else V6))
    if not address.is_global and not refused:
        sys.exit(f"{address} is not global but the reference lets it pass")
    print("refused" if refused else "public")
"#;

const CASES: usize = 10_000;

#[test]
fn ten_thousand_random_addresses_are_judged_as_pythons_ipaddress_judges_them() {
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let strategy = (any_address(), any::<u8>(), any::<bool>());
    let mut cases = Vec::with_capacity(CASES);
    for _ in 0..CASES {
        let (address, spelling, https) = strategy.new_tree(&mut runner).expect("a case").current();
        let scheme = if https { "https" } else { "http" };
        cases.push((address, format!("{scheme}://{}/path?q=1", spell(address, spelling))));
    }
    let verdicts = ask_python(cases.iter().map(|(address, _)| *address));
    assert_eq!(verdicts.len(), CASES);
    let public = verdicts.iter().filter(|verdict| *verdict == "public").count();
    assert!((1_000..CASES - 1_000).contains(&public), "both verdicts occur often: {public}");

    let settings = settings(&[]);
    for ((address, url), verdict) in cases.iter().zip(&verdicts) {
        let ours = if check_url(url, &settings).is_ok() { "public" } else { "refused" };
        assert_eq!(ours, verdict, "{address} spelled {url}");
    }
}

fn ask_python(addresses: impl Iterator<Item = IpAddr>) -> Vec<String> {
    let mut input = String::new();
    for address in addresses {
        writeln!(input, "{address}").expect("a string takes all");
    }
    let mut python = Command::new("python3")
        .args(["-c", REFERENCE])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("this test needs python3; install it with: sudo apt-get install -y python3");
    let mut stdin = python.stdin.take().expect("a pipe");
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = python.wait_with_output().expect("python3 ends");
    writer.join().expect("the writer ends").expect("python3 reads its input");
    assert!(output.status.success(), "the reference failed");
    let text = String::from_utf8(output.stdout).expect("text");
    text.lines().map(str::to_owned).collect()
}

/// Half of the addresses are anywhere, half at or around the edges of special networks.
fn any_address() -> impl Strategy<Value = IpAddr> {
    let v4 = prop_oneof![
        any::<u32>(),
        (proptest::sample::select(V4_EDGES.to_vec()), -2_i32..=2)
            .prop_map(|(edge, step)| u32::from(edge).wrapping_add_signed(step)),
    ];
    let v6 = prop_oneof![
        any::<u128>(),
        // Global unicast, which random bits seldom meet.
        any::<u128>().prop_map(|bits| bits >> 3 | 1 << 125),
        (proptest::sample::select(V6_EDGES.to_vec()), any::<u64>(), -2_i32..=2).prop_map(
            |(edge, low, step)| {
                let edge: Ipv6Addr = edge.parse().expect("an address");
                u128::from(edge).wrapping_add_signed(i128::from(step)) | u128::from(low >> 32)
            }
        ),
        (proptest::sample::select(vec![0xffff_u128 << 32, 0, 0x0064_ff9b << 96]), any::<u32>())
            .prop_map(|(prefix, low)| prefix | u128::from(low)),
        (proptest::sample::select(V4_EDGES.to_vec()), any::<bool>()).prop_map(|(edge, mapped)| {
            let prefix = if mapped { 0xffff_u128 << 32 } else { 0x0064_ff9b << 96 };
            prefix | u128::from(u32::from(edge))
        }),
    ];
    prop_oneof![
        v4.prop_map(|bits| IpAddr::V4(Ipv4Addr::from(bits))),
        v6.prop_map(|bits| IpAddr::V6(Ipv6Addr::from(bits))),
    ]
}

const V4_EDGES: [Ipv4Addr; 22] = [
    Ipv4Addr::new(1, 0, 0, 0),
    Ipv4Addr::new(10, 0, 0, 0),
    Ipv4Addr::new(11, 0, 0, 0),
    Ipv4Addr::new(100, 64, 0, 0),
    Ipv4Addr::new(100, 128, 0, 0),
    Ipv4Addr::LOCALHOST,
    Ipv4Addr::new(128, 0, 0, 0),
    Ipv4Addr::new(169, 254, 0, 0),
    Ipv4Addr::new(169, 255, 0, 0),
    Ipv4Addr::new(172, 16, 0, 0),
    Ipv4Addr::new(172, 32, 0, 0),
    Ipv4Addr::new(192, 0, 0, 0),
    Ipv4Addr::new(192, 0, 1, 0),
    Ipv4Addr::new(192, 0, 3, 0),
    Ipv4Addr::new(192, 88, 99, 1),
    Ipv4Addr::new(192, 168, 0, 0),
    Ipv4Addr::new(192, 169, 0, 0),
    Ipv4Addr::new(198, 18, 0, 0),
    Ipv4Addr::new(198, 20, 0, 0),
    Ipv4Addr::new(203, 0, 113, 0),
    Ipv4Addr::new(224, 0, 0, 0),
    Ipv4Addr::new(8, 8, 8, 8),
];

const V6_EDGES: [&str; 18] = [
    "::1",
    "64:ff9b::",
    "64:ff9b:1::",
    "100::",
    "2000::",
    "2001::",
    "2001:2::",
    "2001:10::",
    "2001:200::",
    "2001:db8::",
    "2001:db9::",
    "2002::",
    "2003::",
    "3fff::",
    "3fff:1000::",
    "fc00::",
    "fe80::",
    "ff00::",
];

/// One of the many ways in which a browser lets an address be written.
fn spell(address: IpAddr, way: u8) -> String {
    match address {
        IpAddr::V4(address) => spell_v4(address, way),
        IpAddr::V6(address) => spell_v6(address, way),
    }
}

fn spell_v4(address: Ipv4Addr, way: u8) -> String {
    let bits = u32::from(address);
    let [a, b, c, d] = address.octets();
    match way % 12 {
        0 => format!("{bits}"),
        1 => format!("0x{bits:x}"),
        2 => format!("0{bits:o}"),
        3 => format!("0x{a:X}.0x{b:x}.0X{c:x}.{d}"),
        4 => format!("0{a:o}.0{b:o}.0{c:o}.0{d:o}"),
        5 => format!("{a}.{}", bits & 0x00ff_ffff),
        6 => format!("{a}.{b}.{}", bits & 0xffff),
        7 => format!("{address}."),
        8 => percent_encoded(&address.to_string()),
        9 => full_width(&address.to_string()),
        10 => address.to_string().replace('.', "。"),
        _ => address.to_string(),
    }
}

fn spell_v6(address: Ipv6Addr, way: u8) -> String {
    let segments = address.segments();
    let hex = |segments: &[u16]| {
        segments.iter().map(|segment| format!("{segment:x}")).collect::<Vec<_>>().join(":")
    };
    let [.., a, b, c, d] = address.octets();
    match way % 4 {
        0 => format!("[{}]", hex(&segments)),
        1 => format!("[{}]", hex(&segments).to_uppercase()),
        2 => format!("[{}:{a}.{b}.{c}.{d}]", hex(&segments[..6])),
        _ => format!("[{address}]"),
    }
}

fn percent_encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

fn full_width(text: &str) -> String {
    let widen = |c: char| match c.to_digit(10) {
        Some(digit) => char::from_u32(0xff10 + digit).unwrap_or(c),
        None => c,
    };
    text.chars().map(widen).collect()
}
