//! What a certificate says, in words, and its fingerprint.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::SystemTime;

use sha2::{Digest, Sha256};
use x509_cert::Certificate;
use x509_cert::der::{Decode, Header, Reader, SliceReader};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

/// SHA-256 of a certificate in DER.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Reads `sha256:` and 64 hexadecimal digits, colons allowed between them.
    pub fn parse(text: &str) -> Option<Self> {
        let digits: Vec<u8> = text
            .strip_prefix("sha256:")?
            .chars()
            .filter(|c| *c != ':')
            .map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
            .collect::<Option<_>>()?;
        let mut bytes = [0; 32];
        if digits.len() != 2 * bytes.len() {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = pair[0] << 4 | pair[1];
        }
        Some(Self(bytes))
    }

    /// Fingerprint of a certificate in DER.
    pub fn of(der: &[u8]) -> Self {
        Self(Sha256::digest(der).into())
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A certificate as a person compares it. Its texts come from the peer and are clipped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFacts {
    /// SHA-256 of the whole certificate.
    pub fingerprint: Fingerprint,
    /// Whom it belongs to.
    pub subject: String,
    /// URIs, host names and addresses it is for.
    pub names: Vec<String>,
    /// First day of its validity, as RFC 3339 in UTC.
    pub from: String,
    /// Last day of its validity, as RFC 3339 in UTC.
    pub to: String,
    /// Its last day is over.
    pub expired: bool,
}

impl CertificateFacts {
    /// Reads a certificate in DER.
    ///
    /// # Errors
    /// Why it is none.
    pub fn read(der: &[u8]) -> Result<Self, String> {
        let certificate = Certificate::from_der(der).map_err(|error| error.to_string())?;
        let validity = &certificate.tbs_certificate.validity;
        Ok(Self {
            fingerprint: Fingerprint::of(der),
            subject: clip(&certificate.tbs_certificate.subject.to_string()),
            names: names(&certificate),
            from: validity.not_before.to_string(),
            to: validity.not_after.to_string(),
            expired: validity.not_after.to_system_time() < SystemTime::now(),
        })
    }

    /// True when it is for this host name or address.
    pub fn names_host(&self, host: &str) -> bool {
        self.names.iter().any(|name| name.eq_ignore_ascii_case(host))
    }
}

/// The first certificate of a chain, which is the server's own (Part 6, 6.2.6); the rest of the
/// chain is not needed, because a person has decided about this one.
pub(crate) fn leaf(chain: &[u8]) -> &[u8] {
    let length = || -> Option<usize> {
        let mut reader = SliceReader::new(chain).ok()?;
        let header = Header::decode(&mut reader).ok()?;
        let head = usize::try_from(reader.position()).ok()?;
        head.checked_add(usize::try_from(header.length).ok()?)
    };
    length().and_then(|length| chain.get(..length)).unwrap_or(chain)
}

/// A certificate is hostile text until it is trusted.
fn clip(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

/// URIs, host names and addresses that a certificate names.
fn names(certificate: &Certificate) -> Vec<String> {
    let Ok(Some((_, SubjectAltName(names)))) = certificate.tbs_certificate.get::<SubjectAltName>() else {
        return Vec::new();
    };
    let text = |name: &GeneralName| match name {
        GeneralName::UniformResourceIdentifier(uri) => Some(clip(uri.as_str())),
        GeneralName::DnsName(host) => Some(clip(host.as_str())),
        GeneralName::IpAddress(address) => {
            let bytes = address.as_bytes();
            let short = <[u8; 4]>::try_from(bytes).map(|bytes| Ipv4Addr::from(bytes).to_string());
            short.or_else(|_| <[u8; 16]>::try_from(bytes).map(|bytes| Ipv6Addr::from(bytes).to_string())).ok()
        }
        _ => None,
    };
    names.iter().filter_map(text).take(20).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use opcua::crypto::{X509, X509Data};

    #[test]
    fn fingerprints_are_read_as_printed() {
        let seen = Fingerprint::of(b"certificate");
        assert_eq!(Fingerprint::parse(&seen.to_string()), Some(seen));
        let digits = seen.to_string().trim_start_matches("sha256:").to_uppercase();
        let pairs: Vec<_> = digits.as_bytes().chunks(2).map(|pair| String::from_utf8_lossy(pair)).collect();
        assert_eq!(Fingerprint::parse(&format!("sha256:{}", pairs.join(":"))), Some(seen));
        for wrong in ["", "sha256:", "sha1:00", "sha256:zz", &format!("{seen}00")] {
            assert_eq!(Fingerprint::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn of_a_chain_the_first_certificate_counts() {
        let make = || {
            let (certificate, _) = X509::cert_and_pkey(&X509Data::sample_cert()).expect("made");
            certificate.to_der().expect("encoded")
        };
        let (first, second) = (make(), make());
        assert_eq!(leaf(&first), first);
        assert_eq!(leaf(&[&first[..], &second[..]].concat()), first);
        for hostile in [&[][..], &[0x30], &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff, 1], &[0x30, 3, 1]] {
            assert_eq!(leaf(hostile), hostile);
        }
        let facts = CertificateFacts::read(&first).expect("read");
        assert_eq!(facts.fingerprint, Fingerprint::of(&first));
        assert!(!facts.expired && facts.names_host("localhost"), "{facts:?}");
    }
}
