//! Rules evaluated straight on an object, without a copy of it.
//!
//! This knows what the rules of the official schemas use and answers only when it is sure. A rule that it cannot
//! compile, or an object on which a rule fails or would be an error, is left to the library, which has the last word.

use std::borrow::Cow;

use kube_cel::cel::Program;
use kube_cel::cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr as Ast, LiteralValue, SelectExpr};
use regex::Regex;
use serde_json::Value;

use crate::gateway::Duration;

/// A rule, if it is one that can be evaluated here.
#[derive(Debug)]
pub(super) struct Rule(Option<Expr>);

impl Rule {
    pub(super) fn compile(text: &str) -> Self {
        let Ok(program) = Program::compile(text) else { return Self(None) };
        // A rule about a change has nothing to say of an object that is judged by itself.
        if program.references().has_variable("oldSelf") {
            return Self(Some(Expr::Bool(true)));
        }
        Self(compile(&program.expression().expr, &mut vec!["self"]))
    }

    /// Whether the rule holds for sure.
    pub(super) fn holds(&self, object: &Value) -> bool {
        let Some((expression, this)) = self.0.as_ref().zip(Val::of(object)) else { return false };
        expression.truth(&mut vec![this]) == Some(true)
    }

    #[cfg(test)]
    pub(super) fn is_known(&self) -> bool {
        self.0.is_some()
    }
}

#[derive(Clone, Copy, Debug)]
enum Order {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Clone, Copy, Debug)]
enum Part {
    Start,
    End,
    Anywhere,
}

#[derive(Debug)]
enum Expr {
    Bool(bool),
    Int(i64),
    Text(String),
    List(Vec<Expr>),
    Map(Vec<(Expr, Expr)>),
    /// `self`, or what a loop binds, by its place among what is bound.
    Bound(usize),
    Field(Box<Expr>, String),
    Has(Box<Expr>, String),
    Index(Box<Expr>, Box<Expr>),
    Not(Box<Expr>),
    And(Box<Expr>, Box<Expr>),
    Or(Box<Expr>, Box<Expr>),
    If(Box<Expr>, Box<Expr>, Box<Expr>),
    Equal(Box<Expr>, Box<Expr>),
    Ordered(Order, Box<Expr>, Box<Expr>),
    Add(Box<Expr>, Box<Expr>),
    In(Box<Expr>, Box<Expr>),
    Size(Box<Expr>),
    Holds(Part, Box<Expr>, Box<Expr>),
    Matches(Box<Expr>, Regex),
    Lower(Box<Expr>),
    Upper(Box<Expr>),
    Duration(Box<Expr>),
    NotStrictlyFalse(Box<Expr>),
    Loop(Box<Loop>),
}

#[derive(Debug)]
struct Loop {
    over: Expr,
    start: Expr,
    while_true: Expr,
    step: Expr,
    result: Expr,
}

fn compile(ast: &Ast, bound: &mut Vec<&str>) -> Option<Expr> {
    Some(match ast {
        Ast::Literal(LiteralValue::Boolean(value)) => Expr::Bool(*value.inner()),
        Ast::Literal(LiteralValue::Int(value)) => Expr::Int(*value.inner()),
        Ast::Literal(LiteralValue::String(value)) => Expr::Text(value.inner().to_owned()),
        Ast::Ident(name) => Expr::Bound(bound.iter().rposition(|known| known == name)?),
        Ast::Select(SelectExpr { operand, field, test }) => {
            let of = Box::new(compile(&operand.expr, bound)?);
            let field = unescaped(field)?;
            if *test { Expr::Has(of, field) } else { Expr::Field(of, field) }
        }
        Ast::List(list) if list.optional_indices.is_empty() => {
            Expr::List(list.elements.iter().map(|item| compile(&item.expr, bound)).collect::<Option<_>>()?)
        }
        Ast::Map(map) => {
            let mut entries = Vec::new();
            for entry in &map.entries {
                let EntryExpr::MapEntry(entry) = &entry.expr else { return None };
                entries.push((compile(&entry.key.expr, bound)?, compile(&entry.value.expr, bound)?));
            }
            Expr::Map(entries)
        }
        Ast::Comprehension(inner) => compile_loop(inner, bound)?,
        Ast::Call(call) => compile_call(call, bound)?,
        _ => return None,
    })
}

/// A loop binds its result and then its item; the item is known in the step only.
fn compile_loop(ast: &ComprehensionExpr, bound: &mut Vec<&str>) -> Option<Expr> {
    if ast.iter_var2.is_some() {
        return None;
    }
    let over = compile(&ast.iter_range.expr, bound)?;
    let start = compile(&ast.accu_init.expr, bound)?;
    let mut inner = bound.clone();
    inner.push(ast.accu_var.as_str());
    let while_true = compile(&ast.loop_cond.expr, &mut inner)?;
    let result = compile(&ast.result.expr, &mut inner)?;
    inner.push(ast.iter_var.as_str());
    let step = compile(&ast.loop_step.expr, &mut inner)?;
    Some(Expr::Loop(Box::new(Loop { over, start, while_true, step, result })))
}

fn compile_call(call: &CallExpr, bound: &mut Vec<&str>) -> Option<Expr> {
    let mut operands = Vec::new();
    for operand in call.target.as_deref().into_iter().chain(&call.args) {
        operands.push(Box::new(compile(&operand.expr, bound)?));
    }
    let mut operands = operands.into_iter();
    let (first, second, third, more) = (operands.next()?, operands.next(), operands.next(), operands.next());
    if more.is_some() {
        return None;
    }
    Some(match (call.func_name.as_str(), second, third) {
        ("!_", None, None) => Expr::Not(first),
        ("size", None, None) => Expr::Size(first),
        ("duration", None, None) => Expr::Duration(first),
        ("lowerAscii", None, None) => Expr::Lower(first),
        ("upperAscii", None, None) => Expr::Upper(first),
        ("@not_strictly_false", None, None) => Expr::NotStrictlyFalse(first),
        ("_&&_", Some(second), None) => Expr::And(first, second),
        ("_||_", Some(second), None) => Expr::Or(first, second),
        ("_==_", Some(second), None) => Expr::Equal(first, second),
        ("_!=_", Some(second), None) => Expr::Not(Box::new(Expr::Equal(first, second))),
        ("_<_", Some(second), None) => Expr::Ordered(Order::Less, first, second),
        ("_<=_", Some(second), None) => Expr::Ordered(Order::LessOrEqual, first, second),
        ("_>_", Some(second), None) => Expr::Ordered(Order::Greater, first, second),
        ("_>=_", Some(second), None) => Expr::Ordered(Order::GreaterOrEqual, first, second),
        ("_+_", Some(second), None) => Expr::Add(first, second),
        ("_[_]", Some(second), None) => Expr::Index(first, second),
        ("@in", Some(second), None) => Expr::In(first, second),
        ("startsWith", Some(second), None) => Expr::Holds(Part::Start, first, second),
        ("endsWith", Some(second), None) => Expr::Holds(Part::End, first, second),
        ("contains", Some(second), None) => Expr::Holds(Part::Anywhere, first, second),
        ("matches", Some(second), None) => match *second {
            Expr::Text(pattern) => Expr::Matches(first, Regex::new(&pattern).ok()?),
            _ => return None,
        },
        ("_?_:_", Some(second), Some(third)) => Expr::If(first, second, third),
        _ => return None,
    })
}

/// Names that are words of the language are written between underscores; of other escapes there are none in our schemas.
fn unescaped(field: &str) -> Option<String> {
    match field.strip_prefix("__") {
        Some(rest) => rest.strip_suffix("__").map(str::to_owned),
        None => (!field.contains("__")).then(|| field.to_owned()),
    }
}

#[derive(Clone, Debug)]
enum Val<'a> {
    Bool(bool),
    Int(i64),
    Text(Cow<'a, str>),
    Duration(Duration),
    /// A list or an object.
    Json(&'a Value),
    List(Vec<Val<'a>>),
}

impl<'a> Val<'a> {
    /// Nothing, and numbers that are not whole, are the library's to judge.
    fn of(json: &'a Value) -> Option<Self> {
        Some(match json {
            Value::Null => return None,
            Value::Bool(value) => Self::Bool(*value),
            Value::Number(number) => Self::Int(number.as_i64()?),
            Value::String(text) => Self::Text(Cow::Borrowed(text)),
            Value::Array(_) | Value::Object(_) => Self::Json(json),
        })
    }

    fn items(self) -> Option<Vec<Self>> {
        match self {
            Self::List(items) => Some(items),
            Self::Json(Value::Array(items)) => items.iter().map(Self::of).collect(),
            Self::Json(Value::Object(fields)) => {
                Some(fields.keys().map(|key| Self::Text(Cow::Borrowed(key))).collect())
            }
            _ => None,
        }
    }

    /// Values of different sorts are the library's to compare.
    fn equals(&self, other: &Self) -> Option<bool> {
        match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => Some(a == b),
            (Self::Int(a), Self::Int(b)) => Some(a == b),
            (Self::Text(a), Self::Text(b)) => Some(a == b),
            _ => None,
        }
    }
}

impl Expr {
    fn truth<'a>(&'a self, bound: &mut Vec<Val<'a>>) -> Option<bool> {
        match self.value(bound)? {
            Val::Bool(value) => Some(value),
            _ => None,
        }
    }

    fn text<'a>(&'a self, bound: &mut Vec<Val<'a>>) -> Option<Cow<'a, str>> {
        match self.value(bound)? {
            Val::Text(text) => Some(text),
            _ => None,
        }
    }

    /// `None` is an error of the rule, or a case that is not known here.
    fn value<'a>(&'a self, bound: &mut Vec<Val<'a>>) -> Option<Val<'a>> {
        Some(match self {
            Self::Bool(value) => Val::Bool(*value),
            Self::Int(value) => Val::Int(*value),
            Self::Text(text) => Val::Text(Cow::Borrowed(text)),
            Self::List(items) => Val::List(items.iter().map(|item| item.value(bound)).collect::<Option<_>>()?),
            Self::Bound(place) => bound.get(*place)?.clone(),
            Self::Field(of, field) => match of.value(bound)? {
                Val::Json(Value::Object(fields)) => Val::of(fields.get(field)?)?,
                _ => return None,
            },
            Self::Has(of, field) => match of.value(bound)? {
                Val::Json(Value::Object(fields)) => match fields.get(field) {
                    Some(Value::Null) => return None,
                    found => Val::Bool(found.is_some()),
                },
                _ => return None,
            },
            Self::Index(of, index) => match (&**of, index.value(bound)?) {
                (Self::Map(entries), key) => {
                    for (name, value) in entries {
                        if name.value(bound)?.equals(&key)? {
                            return value.value(bound);
                        }
                    }
                    return None;
                }
                (of, Val::Int(index)) => of.value(bound)?.items()?.into_iter().nth(usize::try_from(index).ok()?)?,
                _ => return None,
            },
            Self::Not(inner) => Val::Bool(!inner.truth(bound)?),
            Self::And(left, right) => Val::Bool(left.truth(bound)? && right.truth(bound)?),
            Self::Or(left, right) => Val::Bool(left.truth(bound)? || right.truth(bound)?),
            Self::If(condition, yes, no) => return if condition.truth(bound)? { yes } else { no }.value(bound),
            Self::Equal(left, right) => Val::Bool(left.value(bound)?.equals(&right.value(bound)?)?),
            Self::Ordered(order, left, right) => {
                let ordering = match (left.value(bound)?, right.value(bound)?) {
                    (Val::Int(a), Val::Int(b)) => a.cmp(&b),
                    (Val::Duration(a), Val::Duration(b)) => a.cmp(&b),
                    _ => return None,
                };
                Val::Bool(match order {
                    Order::Less => ordering.is_lt(),
                    Order::LessOrEqual => ordering.is_le(),
                    Order::Greater => ordering.is_gt(),
                    Order::GreaterOrEqual => ordering.is_ge(),
                })
            }
            Self::Add(left, right) => match (left.value(bound)?, right.value(bound)?) {
                (Val::Int(a), Val::Int(b)) => Val::Int(a.checked_add(b)?),
                (Val::List(mut items), Val::List(more)) => {
                    items.extend(more);
                    Val::List(items)
                }
                _ => return None,
            },
            Self::In(item, list) => {
                let item = item.value(bound)?;
                let list = list.value(bound)?.items()?;
                let equal: Vec<bool> = list.iter().map(|other| item.equals(other)).collect::<Option<_>>()?;
                Val::Bool(equal.contains(&true))
            }
            Self::Size(of) => Val::Int(match of.value(bound)? {
                Val::Text(text) => i64::try_from(text.chars().count()).ok()?,
                Val::Json(Value::Array(items)) => i64::try_from(items.len()).ok()?,
                other => i64::try_from(other.items()?.len()).ok()?,
            }),
            Self::Holds(part, of, piece) => {
                let (of, piece) = (of.text(bound)?, piece.text(bound)?);
                Val::Bool(match part {
                    Part::Start => of.starts_with(&*piece),
                    Part::End => of.ends_with(&*piece),
                    Part::Anywhere => of.contains(&*piece),
                })
            }
            Self::Matches(of, pattern) => Val::Bool(pattern.is_match(&of.text(bound)?)),
            Self::Lower(of) => Val::Text(Cow::Owned(of.text(bound)?.to_ascii_lowercase())),
            Self::Upper(of) => Val::Text(Cow::Owned(of.text(bound)?.to_ascii_uppercase())),
            Self::Duration(of) => Val::Duration(Duration::parse(&of.text(bound)?)?),
            Self::NotStrictlyFalse(inner) => {
                let outer = bound.len();
                let truth = inner.truth(bound);
                bound.truncate(outer);
                Val::Bool(truth != Some(false))
            }
            Self::Loop(inner) => return inner.value(bound),
            Self::Map(_) => return None,
        })
    }
}

impl Loop {
    fn value<'a>(&'a self, bound: &mut Vec<Val<'a>>) -> Option<Val<'a>> {
        let items = self.over.value(bound)?.items()?;
        let start = self.start.value(bound)?;
        let outer = bound.len();
        bound.push(start);
        for item in items {
            if !self.while_true.truth(bound)? {
                break;
            }
            bound.push(item);
            let next = self.step.value(bound)?;
            bound.truncate(outer);
            bound.push(next);
        }
        let result = self.result.value(bound)?;
        bound.truncate(outer);
        Some(result)
    }
}
