//! Standard Webhooks 1.0: how a message is signed, and how a signature is checked.
//!
//! What is signed is `id.timestamp.body` with HMAC-SHA256. Whoever rotates a key signs with both for a while.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};

use quire_types::Secret;

use crate::Error;

/// Seconds that two clocks may differ.
pub const TOLERANCE_S: i64 = 300;

const PREFIX: &str = "whsec_";

/// A new key.
///
/// # Errors
/// When the system gives no random bytes.
pub fn generate() -> Result<Secret, Error> {
    let mut bytes = [0; 32];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| Error::Invalid("the system gives no random bytes".to_owned()))?;
    Ok(Secret::new(
        format!("{PREFIX}{}", STANDARD.encode(bytes)).as_str(),
    ))
}

/// The key in a secret: `whsec_` and base64 of 24 to 64 bytes.
fn key(secret: &Secret) -> Result<hmac::Key, Error> {
    let bad =
        || Error::Invalid("a signing secret is 'whsec_' and 24 to 64 bytes in base64".to_owned());
    let encoded = secret.expose().strip_prefix(PREFIX).ok_or_else(bad)?;
    let bytes = STANDARD.decode(encoded).map_err(|_| bad())?;
    match bytes.len() {
        24..=64 => Ok(hmac::Key::new(hmac::HMAC_SHA256, &bytes)),
        _ => Err(bad()),
    }
}

/// Whether a secret can sign.
///
/// # Errors
/// When it can't.
pub fn check_secret(secret: &Secret) -> Result<(), Error> {
    key(secret).map(drop)
}

fn signed(id: &str, timestamp: i64, body: &[u8]) -> Vec<u8> {
    let mut message = format!("{id}.{timestamp}.").into_bytes();
    message.extend_from_slice(body);
    message
}

/// The header `webhook-signature`: one signature for each secret.
///
/// # Errors
/// When a secret can't sign.
pub fn sign(secrets: &[Secret], id: &str, timestamp: i64, body: &[u8]) -> Result<String, Error> {
    let message = signed(id, timestamp, body);
    let signatures: Result<Vec<String>, Error> = secrets
        .iter()
        .map(|secret| {
            let tag = hmac::sign(&key(secret)?, &message);
            Ok(format!("v1,{}", STANDARD.encode(tag.as_ref())))
        })
        .collect();
    Ok(signatures?.join(" "))
}

/// Why a message is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// It has no id, no time or no signature.
    Incomplete,
    /// Its time is too far from now: it is a replay, or a clock is wrong.
    Time,
    /// Nobody who knows the secret signed it.
    Signature,
}

/// Checks a message against the secrets that may have signed it.
///
/// # Errors
/// Why it is not believed.
pub fn verify(
    secrets: &[Secret],
    id: &str,
    timestamp: &str,
    signatures: &str,
    body: &[u8],
    now: i64,
) -> Result<(), Doubt> {
    let timestamp: i64 = timestamp.parse().map_err(|_| Doubt::Incomplete)?;
    if id.is_empty() || id.contains('.') || id.len() > 200 {
        return Err(Doubt::Incomplete);
    }
    if now.abs_diff(timestamp) > TOLERANCE_S.unsigned_abs() {
        return Err(Doubt::Time);
    }
    let message = signed(id, timestamp, body);
    let keys: Vec<hmac::Key> = secrets
        .iter()
        .filter_map(|secret| key(secret).ok())
        .collect();
    let is_signed = signatures
        .split(' ')
        .filter_map(|signature| STANDARD.decode(signature.strip_prefix("v1,")?).ok())
        .any(|tag| {
            keys.iter()
                .any(|key| hmac::verify(key, &message, &tag).is_ok())
        });
    match is_signed {
        true => Ok(()),
        false => Err(Doubt::Signature),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const AT: i64 = 1_614_265_330;
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    fn secret() -> Secret {
        Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    }

    #[test]
    fn the_vector_of_the_specification_holds() {
        assert_eq!(sign(&[secret()], ID, AT, BODY).unwrap(), SIGNATURE);
        let at = AT.to_string();
        let check =
            |secrets: &[Secret], id: &str, at: &str, signature: &str, body: &[u8], now: i64| {
                verify(secrets, id, at, signature, body, now)
            };
        let own = [secret()];
        assert_eq!(check(&own, ID, &at, SIGNATURE, BODY, AT + 299), Ok(()));
        let both = sign(&[generate().unwrap(), secret()], ID, AT, BODY).unwrap();
        assert_eq!(check(&own, ID, &at, &both, BODY, AT), Ok(()));
        for (id, time, signature, body, now, doubt) in [
            (ID, at.as_str(), SIGNATURE, BODY, AT + 301, Doubt::Time),
            (ID, at.as_str(), SIGNATURE, BODY, AT - 301, Doubt::Time),
            ("msg_x", at.as_str(), SIGNATURE, BODY, AT, Doubt::Signature),
            (
                ID,
                at.as_str(),
                SIGNATURE,
                b"{}".as_slice(),
                AT,
                Doubt::Signature,
            ),
            (ID, at.as_str(), "v1,", BODY, AT, Doubt::Signature),
            (
                ID,
                at.as_str(),
                "v1a,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
                BODY,
                AT,
                Doubt::Signature,
            ),
            ("", at.as_str(), SIGNATURE, BODY, AT, Doubt::Incomplete),
            ("a.b", at.as_str(), SIGNATURE, BODY, AT, Doubt::Incomplete),
            (ID, "soon", SIGNATURE, BODY, AT, Doubt::Incomplete),
            (ID, "9223372036854775807", SIGNATURE, BODY, AT, Doubt::Time),
        ] {
            assert_eq!(
                check(&own, id, time, signature, body, now),
                Err(doubt),
                "{id} {time} {signature} {now}"
            );
        }
        assert!(check_secret(&Secret::new("whsec_c2hvcnQ=")).is_err());
        assert!(check_secret(&generate().unwrap()).is_ok());
    }
}
