//! From the text of a formula to its operations, with the kinds checked on the way.

use std::ops::Range;
use std::time::Duration;

use super::token::{Placed, Token, tokens};
use super::{
    BYTES_MAX, DEPTH_MAX, Formula, FormulaFault, Input, Kind, MEMORIES_MAX, MemorySpec, NoInput,
    OPERATIONS_MAX, Operation, Remembering, WINDOW,
};
use crate::document::nearest;

/// Functions, for help texts and nearest names.
const FUNCTIONS: [&str; 10] = ["abs", "sqrt", "round", "min", "max", "mean", "if", "rate", "change", "total"];

/// How strongly signs bind.
const OR: u8 = 1;
const AND: u8 = 2;
const NOT: u8 = 3;
const COMPARE: u8 = 4;
const ADD: u8 = 5;
const MULTIPLY: u8 = 6;
const SIGN: u8 = 7;

/// Names of tags in a formula, with their bytes; none when it cannot be split.
pub fn names(text: &str) -> Vec<(&str, Range<usize>)> {
    let Ok(tokens) = tokens(text) else { return Vec::new() };
    let is_call = |at: usize| matches!(tokens.get(at + 1), Some((Token::Sign("("), _)));
    let named = tokens.iter().enumerate().filter_map(|(at, (token, span))| match token {
        Token::Name(name) if !is_call(at) && !is_word(name) => Some((*name, span.clone())),
        _ => None,
    });
    named.collect()
}

fn is_word(name: &str) -> bool {
    matches!(name, "and" | "or" | "not" | "true" | "false")
}

/// Compiles a formula; `find` gives the tag of a name.
///
/// # Errors
/// [`FormulaFault`] with the place of the first fault.
pub fn compile(text: &str, find: &dyn Fn(&str) -> Result<Input, NoInput>) -> Result<Formula, FormulaFault> {
    if text.len() > BYTES_MAX {
        let message = format!("the formula has {} bytes, at most {BYTES_MAX} are possible", text.len());
        return Err(fault("P0131", 0..text.len(), message, "calculate a part of it in a tag of its own"));
    }
    let tokens = tokens(text)?;
    let mut parser = Parser {
        tokens: &tokens,
        at: 0,
        end: text.len(),
        depth: 0,
        find,
        operations: Vec::new(),
        inputs: Vec::new(),
        memories: Vec::new(),
    };
    let whole = parser.expression(0)?;
    if let Some((token, span)) = parser.tokens.get(parser.at).cloned() {
        return Err(parser.unexpected(&token, span, "the formula could end here"));
    }
    Ok(Formula {
        kind: whole.kind,
        inputs: parser.inputs.into(),
        operations: parser.operations.into(),
        memories: parser.memories.into(),
    })
}

fn fault(
    code: &'static str,
    span: Range<usize>,
    message: impl Into<String>,
    help: impl Into<String>,
) -> FormulaFault {
    FormulaFault { code, message: message.into(), span, label: String::new(), help: help.into() }
}

struct Parser<'a> {
    tokens: &'a [Placed<'a>],
    at: usize,
    /// Length of the text.
    end: usize,
    depth: usize,
    find: &'a dyn Fn(&str) -> Result<Input, NoInput>,
    operations: Vec<Operation>,
    inputs: Vec<u32>,
    memories: Vec<MemorySpec>,
}

/// A part that has been read; its operations are written.
#[derive(Clone)]
struct Part {
    kind: Kind,
    span: Range<usize>,
    /// The tag, where it is nothing but a tag.
    tag: Option<Input>,
    /// It is nothing but a number.
    literal: bool,
}

type Parsed = Result<Part, FormulaFault>;

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<&'a Placed<'a>> {
        self.tokens.get(self.at)
    }

    fn push(&mut self, operation: Operation, span: &Range<usize>) -> Result<(), FormulaFault> {
        if self.operations.len() >= OPERATIONS_MAX {
            let message = format!("the formula has more than {OPERATIONS_MAX} operations");
            return Err(fault("P0131", span.clone(), message, "calculate a part of it in a tag of its own"));
        }
        self.operations.push(operation);
        Ok(())
    }

    /// Reads what binds at least as strongly as `least`.
    fn expression(&mut self, least: u8) -> Parsed {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            let span = self.peek().map_or(self.end..self.end, |(_, span)| span.clone());
            let message = format!("the formula is nested more than {DEPTH_MAX} deep");
            return Err(fault("P0131", span, message, "calculate a part of it in a tag of its own"));
        }
        let mut left = self.prefix()?;
        while let Some((strength, operation, written)) = self.peek().and_then(|(token, _)| binary(token)) {
            if strength < least {
                break;
            }
            self.at += 1;
            let right = self.expression(strength + 1)?;
            let span = left.span.start..right.span.end;
            let kind = self.joined(strength, operation, written, &left, &right)?;
            self.push(operation, &span)?;
            left = Part { kind, span, tag: None, literal: false };
            if strength == COMPARE
                && let Some((next, at)) = self.peek()
                && binary(next).is_some_and(|(strength, ..)| strength == COMPARE)
            {
                let help = "compare twice and join with `and`: a > 1 and a < 5";
                return Err(fault("P0160", at.clone(), "two comparisons follow each other", help));
            }
        }
        self.depth -= 1;
        Ok(left)
    }

    /// Checks the kinds on both sides of a sign, and says what it gives.
    fn joined(
        &self,
        strength: u8,
        operation: Operation,
        written: &str,
        left: &Part,
        right: &Part,
    ) -> Result<Kind, FormulaFault> {
        match strength {
            OR | AND => {
                self.want(left, Kind::Bool, written)?;
                self.want(right, Kind::Bool, written)?;
                Ok(Kind::Bool)
            }
            COMPARE => {
                if matches!(operation, Operation::Equal | Operation::Unequal) {
                    return same_kind(left, right).map(|()| Kind::Bool);
                }
                self.want(left, Kind::Number, written)?;
                self.want(right, Kind::Number, written)?;
                Ok(Kind::Bool)
            }
            _ => {
                self.want(left, Kind::Number, written)?;
                self.want(right, Kind::Number, written)?;
                Ok(Kind::Number)
            }
        }
    }

    fn want(&self, part: &Part, kind: Kind, by: &str) -> Result<(), FormulaFault> {
        if part.kind == kind {
            return Ok(());
        }
        let help = match kind {
            Kind::Number => "make a number of it: if(running, 1, 0)",
            Kind::Bool => "compare it with something: pressure > 5",
        };
        let message = format!("`{by}` needs {}", kind.words());
        let label = format!("this is {}", part.kind.words());
        Err(FormulaFault { label, ..fault("P0162", part.span.clone(), message, help) })
    }

    fn prefix(&mut self) -> Parsed {
        let Some((token, span)) = self.peek() else {
            let help = "write a tag, a number or a function behind it";
            return Err(fault("P0160", self.end..self.end, "the formula ends too early", help));
        };
        self.at += 1;
        match token {
            Token::Number(number) => {
                self.push(Operation::Number(*number), span)?;
                Ok(Part { kind: Kind::Number, span: span.clone(), tag: None, literal: true })
            }
            Token::Sign("-") => {
                let part = self.expression(SIGN)?;
                self.want(&part, Kind::Number, "-")?;
                self.push(Operation::Negate, span)?;
                Ok(Part { span: span.start..part.span.end, tag: None, literal: false, ..part })
            }
            Token::Sign("(") => {
                let part = self.expression(0)?;
                let end = self.close(span, "the bracket is not closed")?;
                Ok(Part { span: span.start..end, ..part })
            }
            Token::Name("not") => {
                let part = self.expression(NOT)?;
                self.want(&part, Kind::Bool, "not")?;
                self.push(Operation::Not, span)?;
                Ok(Part { span: span.start..part.span.end, tag: None, literal: false, ..part })
            }
            Token::Name(name @ ("true" | "false")) => {
                self.push(Operation::Number(f64::from(u8::from(*name == "true"))), span)?;
                Ok(Part { kind: Kind::Bool, span: span.clone(), tag: None, literal: false })
            }
            Token::Name(name) if matches!(self.peek(), Some((Token::Sign("("), _))) => {
                self.call(name, span.clone())
            }
            Token::Name(name) if !is_word(name) => self.tag(name, span.clone()),
            other => {
                Err(self.unexpected(other, span.clone(), "a tag, a number or a function is missing here"))
            }
        }
    }

    fn tag(&mut self, name: &str, span: Range<usize>) -> Parsed {
        let input = (self.find)(name).map_err(|no| fault("P0161", span.clone(), no.message, no.help))?;
        let known = self.inputs.iter().position(|tag| *tag == input.tag);
        let index = known.unwrap_or_else(|| {
            self.inputs.push(input.tag);
            self.inputs.len() - 1
        });
        // There are fewer inputs than operations.
        self.push(Operation::Input(u16::try_from(index).unwrap_or(u16::MAX)), &span)?;
        Ok(Part { kind: input.kind, span, tag: Some(input), literal: false })
    }

    fn close(&mut self, open: &Range<usize>, message: &str) -> Result<usize, FormulaFault> {
        match self.peek() {
            Some((Token::Sign(")"), span)) => {
                self.at += 1;
                Ok(span.end)
            }
            Some((token, span)) => Err(self.unexpected(token, span.clone(), "`)` is missing before this")),
            None => Err(fault("P0160", open.clone(), message, "write ) where it ends")),
        }
    }

    fn call(&mut self, name: &'a str, span: Range<usize>) -> Parsed {
        if !FUNCTIONS.contains(&name) {
            let help = match nearest(name, FUNCTIONS) {
                Some(near) => format!("did you mean {near}(…)?"),
                None => format!("functions are: {}", FUNCTIONS.join(", ")),
            };
            return Err(fault("P0160", span, format!("there is no function {name}(…)"), help));
        }
        let open = self.peek().map_or(span.clone(), |(_, open)| open.clone());
        self.at += 1;
        let mut arguments = Vec::new();
        let mut window = None;
        loop {
            if let Some((Token::Time(time), at)) = self.peek()
                && !arguments.is_empty()
            {
                self.at += 1;
                window = Some((*time, at.clone()));
                break;
            }
            arguments.push(self.expression(0)?);
            // min and max join their arguments two by two, so that the stack stays small.
            if let (true, Some(joining)) = (arguments.len() > 1, joining(name)) {
                self.push(joining, &span)?;
            }
            match self.peek() {
                Some((Token::Sign(","), _)) => self.at += 1,
                _ => break,
            }
        }
        let end = self.close(&open, &format!("{name}( is not closed"))?;
        let whole = span.start..end;
        match window {
            Some((time, at)) => self.over_window(name, &arguments, time, at, whole),
            None => self.plain(name, &arguments, whole),
        }
    }

    /// A function of its arguments alone, and `rate` and `total`, which need no window.
    fn plain(&mut self, name: &str, arguments: &[Part], span: Range<usize>) -> Parsed {
        let wanted = match name {
            "if" => 3..=3,
            "min" | "max" | "mean" => 2..=usize::MAX,
            _ => 1..=1,
        };
        if !wanted.contains(&arguments.len()) {
            return Err(fault("P0160", span, wrong_count(name, arguments.len()), example(name)));
        }
        let number =
            |part: &Part| Part { kind: Kind::Number, span: span.clone(), tag: part.tag, literal: false };
        if name == "if" {
            self.want(&arguments[0], Kind::Bool, "if")?;
            let kind = arguments[1].kind;
            if arguments[2].kind != kind {
                let label = format!("this is {}, the other {}", arguments[2].kind.words(), kind.words());
                let help = "write two numbers, or two of true and false";
                let message = "the two values of `if` are not of one kind";
                return Err(FormulaFault {
                    label,
                    ..fault("P0162", arguments[2].span.clone(), message, help)
                });
            }
            self.push(Operation::If, &span)?;
            return Ok(Part { kind, span, tag: None, literal: false });
        }
        for argument in arguments {
            self.want(argument, Kind::Number, name)?;
        }
        let operation = match name {
            "abs" => Operation::Absolute,
            "sqrt" => Operation::Root,
            "round" => Operation::Round,
            "mean" => {
                if let Some(number) = arguments.iter().skip(1).find(|argument| argument.literal) {
                    let help = "a time has its unit: mean(pressure, 10s)";
                    let message = "the mean with a fixed number is of no use";
                    return Err(fault("P0160", number.span.clone(), message, help));
                }
                // An argument is at least one operation, so there are few.
                let count = f64::from(u32::try_from(arguments.len()).unwrap_or(u32::MAX));
                self.push(Operation::Number(count), &span)?;
                Operation::Divide
            }
            "rate" => self.remember(Remembering::Rate, None, &arguments[0], &span)?,
            "total" => self.remember(Remembering::Total, None, &arguments[0], &span)?,
            "change" => return Err(fault("P0160", span, "`change` needs a time", example(name))),
            // min and max are done: each argument was joined with those before it.
            _ => return Ok(Part { tag: None, ..number(&arguments[0]) }),
        };
        self.push(operation, &span)?;
        Ok(Part { tag: None, ..number(&arguments[0]) })
    }

    /// A function that looks back over a time.
    fn over_window(
        &mut self,
        name: &str,
        arguments: &[Part],
        time: Duration,
        at: Range<usize>,
        span: Range<usize>,
    ) -> Parsed {
        let function = match name {
            "min" => Remembering::Least,
            "max" => Remembering::Most,
            "mean" => Remembering::Mean,
            "rate" => Remembering::Rate,
            "change" => Remembering::Change,
            _ => {
                let help = "a time goes with min, max, mean, rate and change";
                return Err(fault("P0160", at, format!("`{name}` takes no time"), help));
            }
        };
        let [argument] = arguments else {
            let message = format!("`{name}` over a time has one value, here are {}", arguments.len());
            return Err(fault("P0160", span, message, example(name)));
        };
        self.want(argument, Kind::Number, name)?;
        if !WINDOW.contains(&time) {
            let help = "write 1s to 7d";
            return Err(fault("P0104", at, "the time is not within 1 s to 7 days", help));
        }
        let window_us = i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
        let operation = self.remember(function, Some(window_us), argument, &span)?;
        self.push(operation, &span)?;
        Ok(Part { kind: Kind::Number, span, tag: None, literal: false })
    }

    fn remember(
        &mut self,
        function: Remembering,
        window_us: Option<i64>,
        argument: &Part,
        span: &Range<usize>,
    ) -> Result<Operation, FormulaFault> {
        if self.memories.len() >= MEMORIES_MAX {
            let message = format!("the formula has more than {MEMORIES_MAX} functions that look back");
            return Err(fault("P0131", span.clone(), message, "calculate a part of it in a tag of its own"));
        }
        let counter = argument.tag.and_then(|tag| tag.counter);
        if function == Remembering::Total && counter.is_none() {
            let label = "not a tag with kind = \"counter\"".to_owned();
            let help = "name a counter, or write kind = \"counter\" at that tag";
            let found = fault("P0162", argument.span.clone(), "`total` is for counters", help);
            return Err(FormulaFault { label, ..found });
        }
        let index = self.memories.len();
        self.memories.push(MemorySpec { function, window_us, counter });
        Ok(Operation::Memory(u16::try_from(index).unwrap_or(u16::MAX)))
    }

    fn unexpected(&self, token: &Token<'_>, span: Range<usize>, why: &str) -> FormulaFault {
        let (shown, help) = match token {
            Token::Sign(sign @ ("&&" | "||")) => {
                (format!("`{sign}`"), if *sign == "&&" { "write `and`" } else { "write `or`" })
            }
            Token::Sign(",") => (
                "`,`".to_owned(),
                "numbers have a decimal point (0.5); commas separate the arguments of a function",
            ),
            Token::Sign(sign) => (format!("`{sign}`"), "a sign such as + stands between two values"),
            Token::Number(number) => (number.to_string(), "write a sign such as * between two values"),
            Token::Time(_) => ("a time".to_owned(), "a time is the last argument: mean(pressure, 10s)"),
            Token::Name(name) => (format!("`{name}`"), "write a sign such as * between two values"),
        };
        let message = format!("{shown} cannot stand here");
        FormulaFault { label: why.to_owned(), ..fault("P0160", span, message, help) }
    }
}

/// Numbers are compared with numbers, true and false with true and false.
fn same_kind(left: &Part, right: &Part) -> Result<(), FormulaFault> {
    if left.kind == right.kind {
        return Ok(());
    }
    let label = format!("this is {}, the other {}", right.kind.words(), left.kind.words());
    let help = match left.kind {
        Kind::Bool => "write the tag alone, or `not` in front of it, or compare it with true or false",
        Kind::Number => "compare numbers with numbers",
    };
    let message = "the two sides are not of one kind";
    Err(FormulaFault { label, ..fault("P0162", right.span.clone(), message, help) })
}

fn joining(name: &str) -> Option<Operation> {
    match name {
        "min" => Some(Operation::Least),
        "max" => Some(Operation::Most),
        "mean" => Some(Operation::Add),
        _ => None,
    }
}

fn wrong_count(name: &str, found: usize) -> String {
    match name {
        "if" => format!("`if` has three values, here are {found}"),
        "min" | "max" | "mean" => format!("`{name}` has several values, or one and a time"),
        "rate" => format!("`rate` has one value, and a time if you like; here are {found} values"),
        "change" => format!("`change` has one value and a time, here are {found} values"),
        _ => format!("`{name}` has one value, here are {found}"),
    }
}

fn example(name: &str) -> String {
    let example = match name {
        "if" => "if(running, power, 0)",
        "min" => "min(pressure, 10s) or min(left, right)",
        "max" => "max(pressure, 10s) or max(left, right)",
        "mean" => "mean(pressure, 10s) or mean(left, right)",
        "rate" => "rate(parts) or rate(parts, 60s), per second",
        "change" => "change(parts, 1h)",
        "total" => "total(parts)",
        _ => return format!("for example {name}(pressure)"),
    };
    format!("for example {example}")
}

/// Strength and operation of a sign between two values.
fn binary<'t>(token: &Token<'t>) -> Option<(u8, Operation, &'t str)> {
    Some(match token {
        Token::Name("or") => (OR, Operation::Or, "or"),
        Token::Name("and") => (AND, Operation::And, "and"),
        Token::Sign("<") => (COMPARE, Operation::Less, "<"),
        Token::Sign("<=") => (COMPARE, Operation::LessOrEqual, "<="),
        Token::Sign(">") => (COMPARE, Operation::Greater, ">"),
        Token::Sign(">=") => (COMPARE, Operation::GreaterOrEqual, ">="),
        Token::Sign("=" | "==") => (COMPARE, Operation::Equal, "=="),
        Token::Sign("!=" | "<>") => (COMPARE, Operation::Unequal, "!="),
        Token::Sign("+") => (ADD, Operation::Add, "+"),
        Token::Sign("-") => (ADD, Operation::Subtract, "-"),
        Token::Sign("*") => (MULTIPLY, Operation::Multiply, "*"),
        Token::Sign("/") => (MULTIPLY, Operation::Divide, "/"),
        _ => return None,
    })
}
