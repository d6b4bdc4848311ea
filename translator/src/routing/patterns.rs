//! Patterns that are none: Envoy would refuse them, and their whole table with them, so they match nothing.

use kinds::FieldPath;
use kinds::gateway::{
    GrpcMethodMatchType, GrpcRouteMatch, HeaderMatchType, HttpHeaderMatch, HttpRouteMatch, PathMatchType,
    QueryParamMatchType,
};

use super::filters::Refused;

pub(super) fn http(matches: &[HttpRouteMatch], rule: &FieldPath) -> Vec<Refused> {
    let mut found = Vec::new();
    for (index, one) in matches.iter().enumerate() {
        let path = rule.field("matches").index(index);
        if one.path.kind == PathMatchType::RegularExpression {
            found.extend(problem(&one.path.value, &path.field("path").field("value")));
        }
        headers(&one.headers, &path, &mut found);
        let written = one.query_params.iter().enumerate();
        for (index, param) in written.filter(|(_, param)| param.kind == QueryParamMatchType::RegularExpression) {
            found.extend(problem(&param.value, &path.field("queryParams").index(index).field("value")));
        }
    }
    found
}

pub(super) fn grpc(matches: &[GrpcRouteMatch], rule: &FieldPath) -> Vec<Refused> {
    let mut found = Vec::new();
    for (index, one) in matches.iter().enumerate() {
        let path = rule.field("matches").index(index);
        let by_regex = one.method.as_ref().filter(|method| method.kind == GrpcMethodMatchType::RegularExpression);
        if let Some(method) = by_regex {
            for (field, pattern) in [("service", &method.service), ("method", &method.method)] {
                let pattern = pattern.as_deref();
                found.extend(pattern.and_then(|pattern| problem(pattern, &path.field("method").field(field))));
            }
        }
        headers(&one.headers, &path, &mut found);
    }
    found
}

fn headers(written: &[HttpHeaderMatch], path: &FieldPath, found: &mut Vec<Refused>) {
    for (index, header) in written.iter().enumerate() {
        if header.kind == HeaderMatchType::RegularExpression {
            found.extend(problem(&header.value, &path.field("headers").index(index).field("value")));
        }
    }
}

fn problem(pattern: &str, path: &FieldPath) -> Option<Refused> {
    let error = regex::Regex::new(pattern).err()?;
    // The last line says what is wrong, the others draw where.
    let reason = error.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
    Some(Refused {
        condition: "Accepted",
        reason: "UnsupportedValue",
        message: format!("the pattern matches nothing, for it is none: {reason}"),
        path: path.clone(),
    })
}
