//! Evaluating a formula: once for each scan, without allocating.

use super::window::Memory;
use super::{Formula, Operation};

/// What an evaluation gave.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Outcome {
    /// This; a BOOL is 0 or 1.
    Value(f64),
    /// Nothing that can be published: a division by zero, or a number without end.
    Invalid,
    /// Too little is known yet: a rate needs two readings.
    Missing,
}

/// What a formula needs to run.
#[derive(Debug, Clone)]
pub struct Running {
    stack: Vec<f64>,
    memories: Vec<Memory>,
}

impl Running {
    /// Room for `formula`.
    pub fn new(formula: &Formula) -> Self {
        Self {
            stack: Vec::with_capacity(formula.operations.len()),
            memories: formula.memories.iter().map(|spec| Memory::new(*spec)).collect(),
        }
    }

    /// Operands for which there is room.
    #[cfg(test)]
    pub fn room(&self) -> usize {
        self.stack.capacity()
    }

    /// A connection was lost: rates and windows begin anew.
    pub fn forget(&mut self) {
        self.memories.iter_mut().for_each(Memory::forget);
    }

    /// Evaluates `formula`, for which this was made, at `now_us` (microseconds since 1970 UTC).
    /// `value` gives the value of an entry of [`Formula::inputs`].
    pub fn evaluate(&mut self, formula: &Formula, now_us: i64, value: impl Fn(usize) -> f64) -> Outcome {
        self.stack.clear();
        let mut missing = false;
        for operation in &formula.operations {
            let result = match *operation {
                Operation::Number(number) => number,
                Operation::Input(index) => value(usize::from(index)),
                Operation::Memory(index) => {
                    let argument = self.pop();
                    match self.memories.get_mut(usize::from(index)).and_then(|it| it.take(argument, now_us)) {
                        Some(answer) => answer,
                        None => {
                            missing = true;
                            f64::NAN
                        }
                    }
                }
                Operation::If => {
                    let (no, yes, condition) = (self.pop(), self.pop(), self.pop());
                    choose(condition, yes, no)
                }
                other => match of_one(other) {
                    Some(function) => function(self.pop()),
                    None => {
                        let (right, left) = (self.pop(), self.pop());
                        of_two(other, left, right)
                    }
                },
            };
            self.stack.push(result);
        }
        let result = self.pop();
        if missing {
            Outcome::Missing
        } else if result.is_finite() {
            Outcome::Value(result)
        } else {
            Outcome::Invalid
        }
    }

    /// A compiled formula never takes more than is there.
    fn pop(&mut self) -> f64 {
        self.stack.pop().unwrap_or(f64::NAN)
    }
}

fn of_one(operation: Operation) -> Option<fn(f64) -> f64> {
    Some(match operation {
        Operation::Negate => |value: f64| -value,
        Operation::Not => |value: f64| 1.0 - value,
        Operation::Absolute => f64::abs,
        Operation::Root => f64::sqrt,
        Operation::Round => f64::round,
        _ => return None,
    })
}

#[allow(clippy::float_cmp)] // what is asked for is whether the two are the same
fn of_two(operation: Operation, left: f64, right: f64) -> f64 {
    match operation {
        Operation::Add => left + right,
        Operation::Subtract => left - right,
        Operation::Multiply => left * right,
        Operation::Divide => left / right,
        Operation::Least => unless_unknown(left, right, f64::min(left, right)),
        Operation::Most => unless_unknown(left, right, f64::max(left, right)),
        Operation::And if left == 0.0 || right == 0.0 => 0.0,
        Operation::Or if left == 1.0 || right == 1.0 => 1.0,
        Operation::And => left * right,
        Operation::Or => left + right,
        Operation::Less => compared(left, right, left < right),
        Operation::LessOrEqual => compared(left, right, left <= right),
        Operation::Equal => compared(left, right, left == right),
        Operation::Unequal => compared(left, right, left != right),
        Operation::Greater => compared(left, right, left > right),
        Operation::GreaterOrEqual => compared(left, right, left >= right),
        _ => f64::NAN,
    }
}

/// Which of two numbers is smaller cannot be said when one is not known.
fn unless_unknown(left: f64, right: f64, result: f64) -> f64 {
    if left.is_nan() || right.is_nan() { f64::NAN } else { result }
}

fn compared(left: f64, right: f64, holds: bool) -> f64 {
    if left.is_finite() && right.is_finite() { f64::from(u8::from(holds)) } else { f64::NAN }
}

fn choose(condition: f64, yes: f64, no: f64) -> f64 {
    if condition.is_nan() {
        f64::NAN
    } else if condition == 0.0 {
        no
    } else {
        yes
    }
}
