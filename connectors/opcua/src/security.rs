//! Who the server is, and who we are.
//!
//! A server is trusted by the SHA-256 fingerprint of its certificate, written into `trust` by a
//! person. Nothing is trusted on first use: the fingerprint seen is printed, and the device stays
//! unread. The library is told to accept what passed here, because its own check reads only the
//! first name of a certificate. It still compares the certificate in CreateSession with the one
//! pinned here and checks the server's signature, which proves the private key.

use std::fmt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use opcua::crypto::{CertificateStore, X509Data};
use opcua::types::{EndpointDescription, MessageSecurityMode, StatusCode, UserTokenType};
use sha2::{Digest, Sha256};
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use forebay_connector::PollError;

/// Application URI of Forebay; servers compare it with the first name in our certificate.
pub(crate) const APPLICATION_URI: &str = "urn:forebay:gateway";
/// Application name of Forebay, as servers list it.
pub(crate) const APPLICATION_NAME: &str = "Forebay";
/// Validity of our own certificate. Its renewal would have to be trusted on every server by hand,
/// so it lasts as long as the box.
const OWN_CERTIFICATE_DAYS: u32 = 20 * 365;
/// Our certificate, below the device's PKI folder.
pub(crate) const OWN_CERTIFICATE: &str = "own/cert.der";
/// Our private key, below the device's PKI folder.
pub(crate) const OWN_KEY: &str = "own/key.pem";
/// Security policies a password may be encrypted with; older ones can be broken.
const PASSWORD_POLICIES: [&str; 3] = ["Basic256Sha256", "Aes128_Sha256_RsaOaep", "Aes256_Sha256_RsaPss"];

/// SHA-256 of a certificate in DER.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Reads `sha256:` and 64 hexadecimal digits, colons allowed between them.
    pub(crate) fn parse(text: &str) -> Option<Self> {
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

    /// Fingerprint of a certificate.
    pub(crate) fn of(der: &[u8]) -> Self {
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

/// Checks the certificate that the server offers before anything is sent to it.
///
/// With the right fingerprint two checks remain: it has not expired, and it belongs to the
/// application that the server says it is (Part 4, 6.1.3). Its start of validity is not checked,
/// because a box without clock battery would then lose its devices until the time is set; nor its
/// host name, because behind address translation no certificate carries the right one. Both are
/// told to the person who decides about trust.
///
/// # Errors
/// [`PollError::Security`] in words, with the fix.
pub(crate) fn check_server(
    endpoint: &EndpointDescription,
    host: &str,
    trust: Option<Fingerprint>,
) -> Result<(), PollError> {
    let der: &[u8] = endpoint.server_certificate.as_ref();
    if der.is_empty() {
        return Err(security("the server offers this security without a certificate".into()));
    }
    let seen = Fingerprint::of(der);
    let certificate = Certificate::from_der(der).map_err(|error| {
        security(format!("the server's certificate {seen} cannot be read: {error}; chains are not supported"))
    })?;
    match trust {
        None => return Err(security(ask_for_trust(&certificate, seen, host))),
        Some(trusted) if trusted != seen => {
            return Err(security(format!(
                "the server has the certificate {seen}, but trust = \"{trusted}\". If its certificate was \
                 renewed, compare the new fingerprint on the server itself and write it; if not, someone \
                 else answers at this address"
            )));
        }
        Some(_) => {}
    }
    let end = certificate.tbs_certificate.validity.not_after;
    if end.to_system_time() < SystemTime::now() {
        return Err(security(format!(
            "the server's certificate {seen} expired at {end}; renew it on the server"
        )));
    }
    let uri = endpoint.server.application_uri.as_ref();
    if !names(&certificate).iter().any(|name| name == uri) {
        return Err(security(format!(
            "the server calls itself `{uri}`, its certificate {seen} belongs to another application; create a \
             new certificate on the server"
        )));
    }
    Ok(())
}

fn ask_for_trust(certificate: &Certificate, seen: Fingerprint, host: &str) -> String {
    let names = names(certificate);
    let stranger = if names.iter().any(|name| name.eq_ignore_ascii_case(host)) {
        ""
    } else {
        " It does not name the host of the endpoint, which is normal behind address translation only."
    };
    let validity = &certificate.tbs_certificate.validity;
    format!(
        "the server's certificate is not known yet. It belongs to {subject} ({names}), is valid from {from} to \
         {to}, fingerprint {seen}.{stranger} Compare the fingerprint on the server itself, then write \
         trust = \"{seen}\" in [[device]]",
        subject = clip(&certificate.tbs_certificate.subject.to_string()),
        names = clip(&names.join(", ")),
        from = validity.not_before,
        to = validity.not_after,
    )
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
        GeneralName::UniformResourceIdentifier(uri) => Some(uri.to_string()),
        GeneralName::DnsName(host) => Some(host.to_string()),
        GeneralName::IpAddress(address) => match address.as_bytes().len() {
            4 => {
                <[u8; 4]>::try_from(address.as_bytes()).ok().map(|a| std::net::Ipv4Addr::from(a).to_string())
            }
            16 => {
                <[u8; 16]>::try_from(address.as_bytes()).ok().map(|a| std::net::Ipv6Addr::from(a).to_string())
            }
            _ => None,
        },
        _ => None,
    };
    names.iter().filter_map(text).collect()
}

/// Leaves only those ways to send a password that protect it. The list of ways comes unprotected,
/// so that anyone on the network could have added a weaker one. In an encrypted channel all are safe.
pub(crate) fn keep_safe_passwords(endpoint: &mut EndpointDescription) {
    if endpoint.security_mode == MessageSecurityMode::SignAndEncrypt {
        return;
    }
    if let Some(tokens) = &mut endpoint.user_identity_tokens {
        tokens.retain(|token| {
            let uri = token.security_policy_uri.as_ref();
            token.token_type != UserTokenType::UserName
                || uri.is_empty()
                || uri.rsplit('#').next().is_some_and(|name| PASSWORD_POLICIES.contains(&name))
        });
    }
}

/// Our own certificate and key under `folder`, made on first use.
///
/// Takes seconds where a key has to be made: not for an async task.
///
/// # Errors
/// A sentence that names the file.
pub(crate) fn own_certificate(folder: &Path) -> Result<(), String> {
    // A caller that gave up waiting leaves its thread behind, still at work in the same folder.
    static MAKING: Mutex<()> = Mutex::new(());
    let _alone = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    let readable = CertificateStore::read_cert(&folder.join(OWN_CERTIFICATE)).is_ok()
        && CertificateStore::read_pkey(&folder.join(OWN_KEY)).is_ok();
    if readable {
        return Ok(());
    }
    // Made apart and moved as a whole, so that a power cut leaves both files or none.
    let fresh = folder.join("own.new");
    let say = |what: &Path, error: std::io::Error| format!("{}: {error}", what.display());
    remove(&fresh).map_err(|error| say(&fresh, error))?;
    private_folder(&fresh).map_err(|error| say(&fresh, error))?;
    let data = X509Data {
        key_size: 2048,
        common_name: APPLICATION_NAME.into(),
        organization: APPLICATION_NAME.into(),
        organizational_unit: String::new(),
        country: String::new(),
        state: String::new(),
        alt_host_names: X509Data::alt_host_names(APPLICATION_URI, None, false, true, false),
        certificate_duration_days: OWN_CERTIFICATE_DAYS,
    };
    let (certificate, key) = (fresh.join("cert.der"), fresh.join("key.pem"));
    CertificateStore::create_certificate_and_key(&data, true, &certificate, &key)?;
    let target = folder.join("own");
    let install = || {
        std::fs::File::open(&certificate)?.sync_all()?;
        std::fs::File::open(&key)?.sync_all()?;
        remove(&target)?;
        std::fs::rename(&fresh, &target)?;
        std::fs::File::open(folder)?.sync_all()
    };
    install().map_err(|error| say(&target, error))
}

fn remove(folder: &Path) -> std::io::Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn private_folder(folder: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

fn security(what: String) -> PollError {
    PollError::Security { what }
}

/// What a refusal of channel or session means for the caller.
pub(crate) fn refusal(status: StatusCode, user: Option<&str>, own: Option<&Path>) -> Option<PollError> {
    Some(match status {
        StatusCode::BadUserAccessDenied
        | StatusCode::BadIdentityTokenRejected
        | StatusCode::BadIdentityTokenInvalid
        | StatusCode::BadUserSignatureInvalid => security(match user {
            Some(user) => format!(
                "the server refuses user `{user}` ({status}); correct user or password, and see that the \
                 account is not locked"
            ),
            None => format!("the server takes no guests ({status}); write auth in [opcua]"),
        }),
        StatusCode::BadSecurityChecksFailed
        | StatusCode::BadCertificateInvalid
        | StatusCode::BadCertificateUntrusted
        | StatusCode::BadCertificateTimeInvalid
        | StatusCode::BadCertificateUseNotAllowed
        | StatusCode::BadCertificateUriInvalid
        | StatusCode::BadCertificateHostNameInvalid
        | StatusCode::BadCertificateChainIncomplete
        | StatusCode::BadApplicationSignatureInvalid => security(match own {
            Some(file) => format!(
                "the server refuses the secure channel ({status}); trust the certificate {} on the server",
                file.display()
            ),
            None => format!("the server refuses the channel ({status})"),
        }),
        StatusCode::BadSecurityPolicyRejected | StatusCode::BadSecurityModeRejected => security(format!(
            "the server has no safe way to log in like this ({status}); see `security`, `mode` and `auth` in \
             [opcua]"
        )),
        StatusCode::BadTooManySessions
        | StatusCode::BadMaxConnectionsReached
        | StatusCode::BadTcpNotEnoughResources
        | StatusCode::BadTcpServerTooBusy
        | StatusCode::BadTooManySubscriptions
        | StatusCode::BadTooManyMonitoredItems => PollError::Refused {
            what: format!(
                "the server is full ({status}); free a session or subscription there, or raise its limit"
            ),
        },
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

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

    fn offered(uri: &str, days: u32) -> EndpointDescription {
        let data = X509Data {
            alt_host_names: X509Data::alt_host_names(uri, Some(vec!["plc-7".into()]), false, false, false),
            certificate_duration_days: days,
            ..X509Data::sample_cert()
        };
        let (certificate, _) = opcua::crypto::X509::cert_and_pkey(&data).expect("made");
        let mut endpoint = EndpointDescription::from("opc.tcp://plc-7:4840");
        endpoint.server.application_uri = "urn:plc-7:server".into();
        endpoint.server_certificate = certificate.as_byte_string();
        endpoint
    }

    fn said(checked: Result<(), PollError>) -> String {
        match checked {
            Err(PollError::Security { what }) => what,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn only_the_certificate_that_a_person_named_is_trusted() {
        let endpoint = offered("urn:plc-7:server", 10);
        let seen = Fingerprint::of(endpoint.server_certificate.as_ref());
        assert_eq!(check_server(&endpoint, "plc-7", Some(seen)), Ok(()));
        assert_eq!(check_server(&endpoint, "10.0.0.1", Some(seen)), Ok(()));

        let ask = said(check_server(&endpoint, "plc-7", None));
        assert!(
            ask.contains(&format!("trust = \"{seen}\"")) && !ask.contains("does not name the host"),
            "{ask}"
        );
        let ask = said(check_server(&endpoint, "10.0.0.1", None));
        assert!(ask.contains("does not name the host"), "{ask}");

        let other = Fingerprint::of(b"another");
        let wrong = said(check_server(&endpoint, "plc-7", Some(other)));
        assert!(wrong.contains(&seen.to_string()) && wrong.contains(&other.to_string()), "{wrong}");
    }

    #[test]
    fn a_trusted_certificate_must_not_have_expired_nor_belong_to_another() {
        let expired = offered("urn:plc-7:server", 0);
        let seen = Fingerprint::of(expired.server_certificate.as_ref());
        assert!(said(check_server(&expired, "plc-7", Some(seen))).contains("expired"));
        let stranger = offered("urn:plc-8:server", 10);
        let seen = Fingerprint::of(stranger.server_certificate.as_ref());
        assert!(said(check_server(&stranger, "plc-7", Some(seen))).contains("another application"));
        let mut none = EndpointDescription::from("opc.tcp://plc-7:4840");
        assert!(said(check_server(&none, "plc-7", Some(seen))).contains("without a certificate"));
        none.server_certificate = vec![0x30u8; 40].into();
        let broken = Fingerprint::of(none.server_certificate.as_ref());
        assert!(said(check_server(&none, "plc-7", Some(broken))).contains("cannot be read"));
    }

    #[test]
    fn weak_ways_to_send_a_password_are_dropped() {
        let mut endpoint = EndpointDescription::from("opc.tcp://plc-7:4840");
        let token = |kind, policy: &str| opcua::types::UserTokenPolicy {
            token_type: kind,
            security_policy_uri: policy.into(),
            ..Default::default()
        };
        let base = "http://opcfoundation.org/UA/SecurityPolicy#";
        endpoint.user_identity_tokens = Some(vec![
            token(UserTokenType::UserName, &format!("{base}None")),
            token(UserTokenType::UserName, &format!("{base}Basic128Rsa15")),
            token(UserTokenType::UserName, &format!("{base}Basic256Sha256")),
            token(UserTokenType::UserName, ""),
            token(UserTokenType::Anonymous, &format!("{base}None")),
        ]);
        let left = |mode| {
            let mut endpoint = EndpointDescription { security_mode: mode, ..endpoint.clone() };
            keep_safe_passwords(&mut endpoint);
            endpoint.user_identity_tokens.map_or(0, |tokens| tokens.len())
        };
        assert_eq!(left(MessageSecurityMode::Sign), 3);
        assert_eq!(left(MessageSecurityMode::SignAndEncrypt), 5);
    }

    #[test]
    fn own_certificate_survives_and_is_remade_when_broken() {
        let folder = tempfile::tempdir().expect("a folder");
        let make = || {
            own_certificate(folder.path()).expect("made or read");
            std::fs::read(folder.path().join(OWN_CERTIFICATE)).expect("there")
        };
        let first = make();
        assert_eq!(make(), first);
        std::fs::write(folder.path().join(OWN_KEY), "half a k").expect("written");
        assert_ne!(make(), first);
        let names = names(&Certificate::from_der(&first).expect("a certificate"));
        assert_eq!(names.first().map(String::as_str), Some(APPLICATION_URI));
    }
}
