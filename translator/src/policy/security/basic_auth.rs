//! Names and passwords.

use kinds::FieldPath;
use kinds::core::Secret;
use kinds::envoy_gateway::BasicAuth;

use super::{Policy, Security};
use crate::policy::Problem;
use crate::policy::guard::{Passwords, USERS};

pub(super) fn passwords(policy: &Policy<'_>, written: &BasicAuth, _: &mut Security) -> Result<Passwords, Problem> {
    let path = FieldPath::from("spec.basicAuth.users");
    let secret = policy.object(&path, &written.users.name)?;
    let wrong = |message: String| Err(Problem::wrong(path.clone(), message));
    let Some(users) = policy.view().spec::<Secret>(secret).and_then(|content| content.get(USERS)) else {
        return wrong(format!("{secret} has no data key {USERS}"));
    };
    let Ok(users) = std::str::from_utf8(users) else { return wrong(format!("{secret}: {USERS} is not text")) };
    let mut seen = std::collections::BTreeSet::new();
    for line in users.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let Some((user, hash)) = line.split_once(':') else {
            return wrong(format!("{secret}: a line of {USERS} is not of the form user:password"));
        };
        // A SHA-1 in base64 has 28 characters.
        if hash.strip_prefix("{SHA}").is_none_or(|hash| hash.len() != 28) {
            return wrong(format!("{secret}: the password of {user} is not hashed with SHA, as `htpasswd -s` does"));
        }
        if user.is_empty() || !seen.insert(user) {
            return wrong(format!("{secret}: user `{user}` is empty or stands there twice"));
        }
    }
    if seen.is_empty() {
        return wrong(format!("{secret} holds no user"));
    }
    let header = written.forward_username_header.clone().unwrap_or_default();
    Ok(Passwords { secret: secret.clone(), header })
}
