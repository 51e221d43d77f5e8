//! Who the server is, and who we are.
//!
//! A server is trusted by the SHA-256 fingerprint of its certificate, written into `trust` by a
//! person or taken into the list of `forebay opcua trust`. Nothing is trusted on first use: the
//! fingerprint seen is printed, and the device stays unread. The library is told to accept what passed here, because its own check reads only the
//! first name of a certificate. It still compares the certificate in CreateSession with the one
//! pinned here and checks the server's signature, which proves the private key.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use opcua::crypto::{CertificateStore, X509Data};
use opcua::types::{EndpointDescription, MessageSecurityMode, StatusCode, UserTokenType};

use forebay_connector::PollError;

use crate::certificate::{CertificateFacts, Fingerprint, leaf};
use crate::settings::Login;
use crate::trust::TrustList;

/// Application URI of Forebay; servers compare it with the first name in our certificate.
pub(crate) const APPLICATION_URI: &str = "urn:forebay:gateway";
/// Application name of Forebay, as servers list it.
pub(crate) const APPLICATION_NAME: &str = "Forebay";
/// Validity of our own certificate. Its renewal would have to be trusted on every server by hand,
/// so it lasts as long as the box.
const OWN_CERTIFICATE_DAYS: u32 = 20 * 365;
/// Folder of our own certificate and key, below the device's.
pub(crate) const PKI: &str = "pki";
/// Our certificate, below the device's PKI folder.
pub(crate) const OWN_CERTIFICATE: &str = "own/cert.der";
/// Our private key, below the device's PKI folder.
pub(crate) const OWN_KEY: &str = "own/key.pem";
/// Security policies that may protect a login; older ones can be broken.
const SAFE_POLICIES: [&str; 3] = ["Basic256Sha256", "Aes128_Sha256_RsaOaep", "Aes256_Sha256_RsaPss"];

/// Checks the certificate that the server offers before anything is sent to it.
///
/// It is trusted when `pinned` names it or, where nothing is pinned, when it is in the list. Then
/// two checks remain: it has not expired, and it belongs to the application that the server says
/// it is (Part 4, 6.1.3). Its start of validity is not checked, because a box without clock battery
/// would then lose its devices until the time is set; nor its host name, because behind address
/// translation no certificate carries the right one. Both are told to the person who decides.
///
/// A certificate that is not trusted is kept in the list for a decision.
///
/// # Errors
/// [`PollError::Security`] in words, with the fix.
pub(crate) fn check_server(
    device: &str,
    endpoint: &EndpointDescription,
    host: &str,
    pinned: Option<Fingerprint>,
    list: &TrustList,
) -> Result<(), PollError> {
    let sent = endpoint.server_certificate.as_ref();
    let der = leaf(sent);
    if der.is_empty() {
        return Err(security("the server offers this security without a certificate".into()));
    }
    if der.len() < sent.len() {
        // The library cannot read it further on.
        return Err(security(
            "the server sends its certificate together with those of its issuers, which is not supported; set it \
             to send its own alone, or give it a self-signed one"
                .into(),
        ));
    }
    let seen = Fingerprint::of(der);
    let facts = CertificateFacts::read(der)
        .map_err(|error| security(format!("the server's certificate {seen} cannot be read: {error}")))?;
    let trusted = pinned.map_or_else(|| list.trusts(seen), |pinned| pinned == seen);
    if !trusted {
        let kept = list.keep_waiting(der);
        return Err(security(match pinned {
            Some(pinned) => format!(
                "the server has the certificate {seen}, but trust = \"{pinned}\". If its certificate was \
                 renewed, compare the new fingerprint on the server itself and write it; if not, someone \
                 else answers at this address"
            ),
            None => ask_for_trust(device, &facts, host, kept.err(), list),
        }));
    }
    if facts.expired {
        return Err(security(format!(
            "the server's certificate {seen} expired at {}; renew it on the server",
            facts.to
        )));
    }
    let uri = endpoint.server.application_uri.as_ref();
    if !facts.names.iter().any(|name| name == uri) {
        return Err(security(format!(
            "the server calls itself `{uri}`, its certificate {seen} belongs to another application; create a \
             new certificate on the server"
        )));
    }
    Ok(())
}

fn ask_for_trust(
    device: &str,
    facts: &CertificateFacts,
    host: &str,
    not_kept: Option<std::io::Error>,
    list: &TrustList,
) -> String {
    let stranger = if facts.names_host(host) {
        ""
    } else {
        " It does not name the host of the endpoint, which is normal behind address translation only."
    };
    let renewed = if list.trusted().is_ok_and(|trusted| !trusted.is_empty()) {
        " Another certificate of this device is trusted: if nobody has renewed it, someone else answers at \
         this address."
    } else {
        ""
    };
    let seen = facts.fingerprint;
    let decide = match not_kept {
        None => format!(
            "run `forebay opcua trust {device}`, or write trust = \"{seen}\" in [[device]]; the connection follows \
             at the next try"
        ),
        Some(error) => {
            format!("write trust = \"{seen}\" in [[device]] (it cannot be kept for `forebay opcua`: {error})")
        }
    };
    format!(
        "the server's certificate waits for a decision. It belongs to {subject} ({names}), is valid from {from} to \
         {to}, fingerprint {seen}.{stranger}{renewed} Compare the fingerprint on the server itself, then {decide}",
        subject = facts.subject,
        names = facts.names.join(", "),
        from = facts.from,
        to = facts.to,
    )
}

/// Leaves only those ways to log in that protect what is sent. The list of ways comes unprotected,
/// so that anyone on the network could have added a weaker one. In an encrypted channel a password
/// is safe anyhow; a user's certificate has to sign, and with the policy None nothing is signed.
///
/// A way without a policy means that of the channel (Part 4, 7.42); the library takes it for None
/// where a certificate signs, so that it is written out here.
pub(crate) fn keep_safe_logins(endpoint: &mut EndpointDescription) {
    let encrypted = endpoint.security_mode == MessageSecurityMode::SignAndEncrypt;
    let channel = endpoint.security_policy_uri.clone();
    let safe = |uri: &str| uri.rsplit('#').next().is_some_and(|name| SAFE_POLICIES.contains(&name));
    for token in endpoint.user_identity_tokens.iter_mut().flatten() {
        if token.token_type == UserTokenType::Certificate && token.security_policy_uri.is_empty() {
            token.security_policy_uri = channel.clone();
        }
    }
    if let Some(tokens) = &mut endpoint.user_identity_tokens {
        tokens.retain(|token| {
            let uri = token.security_policy_uri.as_ref();
            match token.token_type {
                UserTokenType::UserName => encrypted || uri.is_empty() || safe(uri),
                UserTokenType::Certificate => safe(uri),
                _ => true,
            }
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
pub(crate) fn refusal(status: StatusCode, login: Option<&Login>, own: Option<&Path>) -> Option<PollError> {
    Some(match status {
        StatusCode::BadUserAccessDenied
        | StatusCode::BadIdentityTokenRejected
        | StatusCode::BadIdentityTokenInvalid
        | StatusCode::BadUserSignatureInvalid => security(match login {
            Some(Login::User { name, .. }) => format!(
                "the server refuses user `{name}` ({status}); correct user or password, and see that the \
                 account is not locked"
            ),
            Some(Login::Certificate { certificate, .. }) => format!(
                "the server refuses the user's certificate in credential:{certificate} ({status}); make the server \
                 trust it as a user"
            ),
            Some(Login::Guest) | None => {
                format!("the server takes no guests ({status}); write auth in [opcua]")
            }
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
                "the server is full ({status}); end a connection that nobody needs (a programming device, a second \
                 client), or raise its limit. It is asked again in a minute"
            ),
        },
        _ => return None,
    })
}

/// True when a server that says this needs to be left alone for a while: it is full, or an account
/// would be locked.
pub(crate) fn needs_rest(status: StatusCode) -> bool {
    [
        StatusCode::BadTooManySessions,
        StatusCode::BadMaxConnectionsReached,
        StatusCode::BadTcpNotEnoughResources,
        StatusCode::BadUserAccessDenied,
        StatusCode::BadIdentityTokenRejected,
        StatusCode::BadIdentityTokenInvalid,
        StatusCode::BadUserSignatureInvalid,
    ]
    .contains(&status)
}

#[cfg(test)]
mod tests {
    use super::*;

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

    fn check(endpoint: &EndpointDescription, host: &str, pin: Option<Fingerprint>) -> Result<(), PollError> {
        let folder = tempfile::tempdir().expect("a folder");
        check_server("filler-1", endpoint, host, pin, &TrustList::new(folder.path()))
    }

    #[test]
    fn only_the_certificate_that_a_person_named_is_trusted() {
        let endpoint = offered("urn:plc-7:server", 10);
        let seen = Fingerprint::of(endpoint.server_certificate.as_ref());
        assert_eq!(check(&endpoint, "plc-7", Some(seen)), Ok(()));
        assert_eq!(check(&endpoint, "10.0.0.1", Some(seen)), Ok(()));

        let ask = said(check(&endpoint, "plc-7", None));
        assert!(
            ask.contains(&format!("trust = \"{seen}\"")) && !ask.contains("does not name the host"),
            "{ask}"
        );
        let ask = said(check(&endpoint, "10.0.0.1", None));
        assert!(ask.contains("does not name the host"), "{ask}");

        let other = Fingerprint::of(b"another");
        let wrong = said(check(&endpoint, "plc-7", Some(other)));
        assert!(wrong.contains(&seen.to_string()) && wrong.contains(&other.to_string()), "{wrong}");
    }

    #[test]
    fn the_list_counts_where_nothing_is_pinned() {
        let folder = tempfile::tempdir().expect("a folder");
        let list = TrustList::new(folder.path());
        let endpoint = offered("urn:plc-7:server", 10);
        let seen = Fingerprint::of(endpoint.server_certificate.as_ref());
        let check = |pin| check_server("filler-1", &endpoint, "plc-7", pin, &list);
        assert!(said(check(None)).contains("`forebay opcua trust filler-1`"));
        assert_eq!(list.waiting().expect("read")[0].fingerprint, seen);
        list.trust(seen).expect("moved");
        assert_eq!(check(None), Ok(()));
        assert!(check(Some(Fingerprint::of(b"another"))).is_err());
        list.reject(seen).expect("moved");
        assert!(check(None).is_err());
    }

    #[test]
    fn a_trusted_certificate_must_not_have_expired_nor_belong_to_another() {
        let expired = offered("urn:plc-7:server", 0);
        let seen = Fingerprint::of(expired.server_certificate.as_ref());
        assert!(said(check(&expired, "plc-7", Some(seen))).contains("expired"));
        let stranger = offered("urn:plc-8:server", 10);
        let seen = Fingerprint::of(stranger.server_certificate.as_ref());
        assert!(said(check(&stranger, "plc-7", Some(seen))).contains("another application"));
        let mut none = EndpointDescription::from("opc.tcp://plc-7:4840");
        assert!(said(check(&none, "plc-7", Some(seen))).contains("without a certificate"));
        none.server_certificate = vec![0x30u8; 40].into();
        let broken = Fingerprint::of(none.server_certificate.as_ref());
        assert!(said(check(&none, "plc-7", Some(broken))).contains("cannot be read"));
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
        let channel = format!("{base}Aes256_Sha256_RsaPss");
        let mut signed = endpoint.clone();
        signed.security_policy_uri = channel.as_str().into();
        signed.user_identity_tokens = Some(vec![
            token(UserTokenType::Certificate, &format!("{base}None")),
            token(UserTokenType::Certificate, ""),
        ]);
        keep_safe_logins(&mut signed);
        let tokens = signed.user_identity_tokens.expect("tokens");
        assert_eq!(tokens.len(), 1);
        assert_eq!(tokens[0].security_policy_uri.as_ref(), channel);
        let left = |mode| {
            let mut endpoint = EndpointDescription { security_mode: mode, ..endpoint.clone() };
            keep_safe_logins(&mut endpoint);
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
        let names = CertificateFacts::read(&first).expect("a certificate").names;
        assert_eq!(names.first().map(String::as_str), Some(APPLICATION_URI));
    }
}
