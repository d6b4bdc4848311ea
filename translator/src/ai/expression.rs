//! Expressions of costs, turned into the language of the script that counts.
//!
//! Envoy has no filter that works out an expression and keeps the number, so the syntax tree becomes a function of Lua:
//! numbers, texts, conditions and the conversions between kinds of numbers. What it cannot say is refused by name.
//! Kinds of numbers may be mixed, which the language itself does not allow: `input_tokens * 0.5` is what it looks like.

use cel::common::ast::{CallExpr, Expr, IdedExpr, LiteralValue, operators};
use cel::parser::Parser;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    /// Not below 0: a difference that is, is no cost.
    Uint,
    Int,
    Double,
    Text,
    Truth,
}

impl Type {
    fn is_number(self) -> bool {
        matches!(self, Self::Uint | Self::Int | Self::Double)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Uint => "uint",
            Self::Int => "int",
            Self::Double => "double",
            Self::Text => "string",
            Self::Truth => "bool",
        }
    }

    /// The kind of a result of two numbers.
    fn joined(self, other: Self) -> Self {
        match (self, other) {
            (Self::Double, _) | (_, Self::Double) => Self::Double,
            (Self::Uint, Self::Uint) => Self::Uint,
            _ => Self::Int,
        }
    }
}

/// What an expression may name: as it is written, and as the script knows it.
const NAMES: [(&str, &str, Type); 9] = [
    ("model", "c.model", Type::Text),
    ("backend", "c.backend", Type::Text),
    ("route_name", "c.route", Type::Text),
    ("input_tokens", "u.input", Type::Uint),
    ("cached_input_tokens", "u.cached", Type::Uint),
    ("cache_creation_input_tokens", "u.creation", Type::Uint),
    ("output_tokens", "u.output", Type::Uint),
    ("total_tokens", "u.total", Type::Uint),
    ("reasoning_tokens", "u.reasoning", Type::Uint),
];

struct Term {
    lua: String,
    kind: Type,
}

/// The body of a Lua function of tokens `u`, names `c` and helpers `h` that returns the cost.
pub(crate) fn to_lua(expression: &str) -> Result<String, String> {
    let parsed = Parser::new().parse(expression).map_err(|errors| {
        let text = errors.to_string();
        text.lines().next().unwrap_or("not an expression").to_owned()
    })?;
    let term = term(&parsed)?;
    if !term.kind.is_number() {
        return Err(format!("a cost is a number, and this is a {}", term.kind.name()));
    }
    Ok(format!("return {}", term.lua))
}

fn term(expression: &IdedExpr) -> Result<Term, String> {
    match &expression.expr {
        Expr::Ident(name) => {
            let known = NAMES.iter().find(|(written, ..)| written == name);
            let (_, lua, kind) = known.ok_or_else(|| format!("`{name}` is not known: there are {}", known_names()))?;
            Ok(Term { lua: (*lua).to_owned(), kind: *kind })
        }
        Expr::Literal(literal) => constant(literal),
        Expr::Call(call) => self::call(call),
        Expr::Select(_) | Expr::Map(_) | Expr::Struct(_) | Expr::List(_) | Expr::Comprehension(_) => {
            Err("fields, lists and maps cannot be counted with: use numbers, texts and conditions".to_owned())
        }
        Expr::Unspecified => Err("not an expression".to_owned()),
    }
}

fn known_names() -> String {
    NAMES.map(|(name, ..)| name).join(", ")
}

fn constant(literal: &LiteralValue) -> Result<Term, String> {
    let (lua, kind) = match literal {
        LiteralValue::Boolean(value) => (value.inner().to_string(), Type::Truth),
        LiteralValue::Double(value) if value.inner().is_finite() => (format!("{:?}", value.inner()), Type::Double),
        LiteralValue::Int(value) => (format!("({})", value.inner()), Type::Int),
        LiteralValue::UInt(value) => (value.inner().to_string(), Type::Uint),
        LiteralValue::String(value) => (quoted(value.inner()), Type::Text),
        _ => return Err("bytes and null are not counted with".to_owned()),
    };
    Ok(Term { lua, kind })
}

/// A text that cannot end before its end.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::from("'");
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'/' | b'.' | b':' | b'_' | b' ') {
            quoted.push(char::from(byte));
        } else {
            quoted.push_str(&format!("\\{byte:03}"));
        }
    }
    quoted.push('\'');
    quoted
}

fn call(call: &CallExpr) -> Result<Term, String> {
    let name = call.func_name.as_str();
    if let Some(target) = &call.target {
        return method(name, target, &call.args);
    }
    match (name, call.args.as_slice()) {
        (operators::CONDITIONAL, [condition, yes, no]) => choice(condition, yes, no),
        (operators::LOGICAL_AND, [left, right]) => truths(left, right, "and"),
        (operators::LOGICAL_OR, [left, right]) => truths(left, right, "or"),
        (operators::LOGICAL_NOT, [one]) => Ok(Term { lua: format!("(not {})", truth(one)?), kind: Type::Truth }),
        (operators::NEGATE, [one]) => {
            let one = number(one)?;
            Ok(Term { lua: format!("(-{})", one.lua), kind: Type::Int.joined(one.kind) })
        }
        (operators::IN, [value, list]) => within(value, list),
        (operators::EQUALS, [left, right]) => equal(left, right, "=="),
        (operators::NOT_EQUALS, [left, right]) => equal(left, right, "~="),
        (operators::LESS, [left, right]) => compare(left, right, "<"),
        (operators::LESS_EQUALS, [left, right]) => compare(left, right, "<="),
        (operators::GREATER, [left, right]) => compare(left, right, ">"),
        (operators::GREATER_EQUALS, [left, right]) => compare(left, right, ">="),
        (
            operators::ADD | operators::SUBSTRACT | operators::MULTIPLY | operators::DIVIDE | operators::MODULO,
            [left, right],
        ) => arithmetic(name, left, right),
        ("uint" | "int" | "double", [one]) => {
            let one = number(one)?;
            let kind = match name {
                "uint" => Type::Uint,
                "int" => Type::Int,
                _ => return Ok(Term { kind: Type::Double, ..one }),
            };
            Ok(Term { lua: format!("h.{name}({})", one.lua), kind })
        }
        _ => Err(format!("`{name}` is not a function that costs are worked out with")),
    }
}

fn method(name: &str, target: &IdedExpr, arguments: &[IdedExpr]) -> Result<Term, String> {
    let [argument] = arguments else {
        return Err(format!("`{name}` is not a function that costs are worked out with"));
    };
    let helper = match name {
        "startsWith" => "starts",
        "endsWith" => "ends",
        "contains" => "contains",
        _ => return Err(format!("`{name}` is not a function that costs are worked out with")),
    };
    let (target, argument) = (term(target)?, term(argument)?);
    if target.kind != Type::Text || argument.kind != Type::Text {
        return Err(format!("`{name}` is for texts"));
    }
    Ok(Term { lua: format!("h.{helper}({},{})", target.lua, argument.lua), kind: Type::Truth })
}

fn number(expression: &IdedExpr) -> Result<Term, String> {
    let term = term(expression)?;
    if term.kind.is_number() { Ok(term) } else { Err(format!("a number is needed, and not a {}", term.kind.name())) }
}

fn truth(expression: &IdedExpr) -> Result<String, String> {
    let term = term(expression)?;
    if term.kind == Type::Truth {
        Ok(term.lua)
    } else {
        Err(format!("a condition is needed, and not a {}", term.kind.name()))
    }
}

fn truths(left: &IdedExpr, right: &IdedExpr, joint: &str) -> Result<Term, String> {
    Ok(Term { lua: format!("({} {joint} {})", truth(left)?, truth(right)?), kind: Type::Truth })
}

fn choice(condition: &IdedExpr, yes: &IdedExpr, no: &IdedExpr) -> Result<Term, String> {
    let (condition, yes, no) = (truth(condition)?, term(yes)?, term(no)?);
    let kind = if yes.kind.is_number() && no.kind.is_number() {
        yes.kind.joined(no.kind)
    } else if yes.kind == no.kind {
        yes.kind
    } else {
        return Err(format!("a choice between a {} and a {}", yes.kind.name(), no.kind.name()));
    };
    let lua = if kind == Type::Truth {
        // What is chosen may itself be false.
        format!("(({condition} and {}) or (not {condition} and {}))", yes.lua, no.lua)
    } else {
        format!("({condition} and {} or {})", yes.lua, no.lua)
    };
    Ok(Term { lua, kind })
}

fn equal(left: &IdedExpr, right: &IdedExpr, how: &str) -> Result<Term, String> {
    let (left, right) = (term(left)?, term(right)?);
    if left.kind != right.kind && !(left.kind.is_number() && right.kind.is_number()) {
        return Err(format!("a {} is never a {}", left.kind.name(), right.kind.name()));
    }
    Ok(Term { lua: format!("({} {how} {})", left.lua, right.lua), kind: Type::Truth })
}

fn compare(left: &IdedExpr, right: &IdedExpr, how: &str) -> Result<Term, String> {
    let (left, right) = (number(left)?, number(right)?);
    Ok(Term { lua: format!("({} {how} {})", left.lua, right.lua), kind: Type::Truth })
}

fn within(value: &IdedExpr, list: &IdedExpr) -> Result<Term, String> {
    let Expr::List(list) = &list.expr else { return Err("`in` needs a list of values".to_owned()) };
    let any = list.elements.iter().map(|element| equal(value, element, "==").map(|equal| equal.lua));
    let any: Vec<String> = any.collect::<Result<_, _>>()?;
    let lua = if any.is_empty() { "false".to_owned() } else { format!("({})", any.join(" or ")) };
    Ok(Term { lua, kind: Type::Truth })
}

fn arithmetic(name: &str, left: &IdedExpr, right: &IdedExpr) -> Result<Term, String> {
    let (left, right) = (number(left)?, number(right)?);
    let kind = left.kind.joined(right.kind);
    let (left, right) = (left.lua, right.lua);
    let lua = match (name, kind) {
        (operators::ADD, _) => format!("({left}+{right})"),
        (operators::MULTIPLY, _) => format!("({left}*{right})"),
        (operators::SUBSTRACT, Type::Uint) => format!("h.uint({left}-{right})"),
        (operators::SUBSTRACT, _) => format!("({left}-{right})"),
        (operators::DIVIDE, Type::Double) => format!("({left}/{right})"),
        (operators::DIVIDE, _) => format!("h.int({left}/{right})"),
        (_, Type::Double) => return Err("a remainder is of whole numbers".to_owned()),
        _ => format!("h.rest({left},{right})"),
    };
    Ok(Term { lua, kind })
}

#[cfg(test)]
mod tests {
    use super::to_lua;

    #[test]
    fn what_an_expression_becomes() {
        for (written, lua) in [
            ("total_tokens", "return u.total"),
            ("input_tokens * 6u + output_tokens", "return ((u.input*6)+u.output)"),
            ("uint(double(input_tokens) * 0.5)", "return h.uint((u.input*0.5))"),
            ("output_tokens - input_tokens", "return h.uint(u.output-u.input)"),
            ("model == 'org/m' ? 2u : 1u", "return ((c.model == 'org/m') and 2 or 1)"),
            ("total_tokens / 3u % 2u", "return h.rest(h.int(u.total/3),2)"),
            (
                "model in ['a', 'b'] || !backend.startsWith('x') ? 1 : 0",
                "return ((((c.model == 'a') or (c.model == 'b')) or (not h.starts(c.backend,'x'))) and (1) or (0))",
            ),
        ] {
            assert_eq!(to_lua(written).as_deref(), Ok(lua), "{written}");
        }
    }

    #[test]
    fn texts_stay_texts() {
        let lua = to_lua("model == '\\'] os.exit() --\\n' ? 1 : 0").unwrap();
        assert_eq!(lua, "return ((c.model == '\\039\\093 os.exit\\040\\041 --\\010') and (1) or (0))");
    }

    #[test]
    fn what_cannot_be_said_is_refused() {
        for written in ["model", "tokens", "input_tokens +", "[1]", "model.matches('a')", "input_tokens == 'a' ? 1 : 2"]
        {
            assert!(to_lua(written).is_err(), "{written}");
        }
    }
}
