//! Rules about who may do what: the first that matches decides.

use kinds::FieldPath;
use kinds::envoy_gateway::{
    Authorization, AuthorizationAction, AuthorizationRule, ClaimValueType, Operation, OperationPathType, Principal,
};
use xds_api::envoy::config::core::v3::CidrRange;
use xds_api::envoy::r#type::matcher::v3::ValueMatcher;
use xds_api::xds::r#type::matcher::v3::matcher::matcher_list::Predicate;

use super::Policy;
use crate::addresses::AddressRange;
use crate::policy::Problem;
use crate::render::build::uint32;
use crate::render::filters::rbac::Verdict;
use crate::render::matcher;
use crate::routing::{is_text, one_of_texts, quoted};

const JWT: &str = "envoy.filters.http.jwt_authn";

pub(super) fn allows_by_default(written: &Authorization) -> bool {
    written.default_action == Some(AuthorizationAction::Allow)
}

pub(super) fn rules(policy: &Policy<'_>, written: &Authorization) -> Result<Vec<(Predicate, Verdict)>, Problem> {
    let base = FieldPath::from("spec.authorization.rules");
    let rule = |(index, rule): (usize, &AuthorizationRule)| {
        let path = base.index(index);
        let mut conditions = Vec::new();
        if let Some(operation) = &rule.operation {
            self::operation(operation, &mut conditions);
        }
        if let Some(principal) = &rule.principal {
            self::principal(policy, principal, &path.field("principal"), &mut conditions)?;
        }
        if let Some(expression) = &rule.cel {
            let parsed = crate::render::cel::parse(expression);
            let parsed = parsed.map_err(|error| Problem::wrong(path.field("cel"), error))?;
            conditions.push(matcher::cel(parsed));
        }
        let name = rule.name.as_ref().map_or_else(|| format!("rule-{index}"), ToString::to_string);
        let verdict = Verdict { name, allow: rule.action == Some(AuthorizationAction::Allow) };
        match matcher::all(conditions) {
            Some(condition) => Ok((condition, verdict)),
            None => Err(Problem::wrong(path, "the rule says neither who nor what")),
        }
    };
    written.rules.iter().enumerate().map(rule).collect()
}

fn operation(written: &Operation, conditions: &mut Vec<Predicate>) {
    let methods = written.methods.iter().map(|method| matcher::header(":method", matcher::exact(method)));
    conditions.extend(matcher::any_of(methods.collect()));
    let Some(path) = &written.path else { return };
    let value = path.value.as_str();
    // The header holds the query too.
    let pattern = match path.kind.unwrap_or(OperationPathType::PathPrefix) {
        OperationPathType::Exact => format!("{}(\\?.*)?", quoted(value)),
        OperationPathType::PathPrefix if value.trim_end_matches('/').is_empty() => "/.*".to_owned(),
        OperationPathType::PathPrefix => format!("{}([/?].*)?", quoted(value.trim_end_matches('/'))),
        OperationPathType::RegularExpression => format!("(?:{value})(\\?.*)?"),
    };
    let condition = matcher::header(":path", matcher::regex(&pattern));
    conditions.push(if path.invert == Some(true) { matcher::not(condition) } else { condition });
}

fn principal(
    policy: &Policy<'_>,
    written: &Principal,
    path: &FieldPath,
    conditions: &mut Vec<Predicate>,
) -> Result<(), Problem> {
    if !written.client_ip_geo_locations.is_empty() {
        let message = "where an address lies is not known: no GeoIP database is read";
        return Err(Problem::unsupported(path.field("clientIPGeoLocations"), message));
    }
    let mut ranges = Vec::new();
    for (index, range) in written.client_cidrs.iter().enumerate() {
        let Some(range) = cidr(range) else {
            let path = path.field("clientCIDRs").index(index);
            return Err(Problem::wrong(path, format!("`{range}` is not a range of addresses")));
        };
        ranges.push(range);
    }
    if !ranges.is_empty() {
        conditions.push(matcher::client_in(ranges));
    }
    for header in &written.headers {
        let values = header.values.iter().map(|value| matcher::header(&header.name, matcher::exact(value)));
        conditions.extend(matcher::any_of(values.collect()));
    }
    let Some(jwt) = &written.jwt else { return Ok(()) };
    let known = policy.spec.jwt.iter().flat_map(|jwt| &jwt.providers).any(|provider| provider.name == jwt.provider);
    if !known {
        let message = format!("there is no provider {} in spec.jwt", jwt.provider);
        return Err(Problem::wrong(path.field("jwt").field("provider"), message));
    }
    let noted = |claim: &str, value: ValueMatcher| {
        matcher::noted(JWT, std::iter::once(jwt.provider.as_str()).chain(claim.split('.')), value)
    };
    for claim in &jwt.claims {
        let values = claim.values.iter().map(|value| match claim.value_type {
            Some(ClaimValueType::StringArray) => noted(&claim.name, one_of_texts(value)),
            _ => noted(&claim.name, is_text(value)),
        });
        conditions.extend(matcher::any_of(values.collect()));
    }
    conditions.extend(jwt.scopes.iter().map(|scope| noted("scope", one_of_texts(scope))));
    Ok(())
}

pub(crate) fn cidr(text: &str) -> Option<CidrRange> {
    let AddressRange { address, length } = text.parse().ok()?;
    Some(CidrRange { address_prefix: address.to_string(), prefix_len: Some(uint32(length.into())) })
}
