//! Reads the parts of an address one after another, and says where one is wrong.

use std::ops::Range;

use forebay_connector::AddressFault;

use super::{Area, Width, fault, not_an_address};
use crate::kepware;

/// Walks over an address; `at` always stands on a character boundary.
pub(super) struct Cursor<'a> {
    pub(super) text: &'a str,
    pub(super) at: usize,
}

impl Cursor<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    /// Steps over `word`, upper or lower case.
    pub(super) fn eat(&mut self, word: &str) -> bool {
        let found = self.rest().get(..word.len()).is_some_and(|head| head.eq_ignore_ascii_case(word));
        if found {
            self.at += word.len();
        }
        found
    }

    /// `DB10`, or the letter of another area; true for the variable memory of a LOGO!.
    pub(super) fn area(&mut self) -> Result<(Area, bool), AddressFault> {
        let start = self.at;
        if self.eat("DB") {
            if !self.peek().is_some_and(|c| c.is_ascii_digit()) {
                return Err(unknown_area(self.text, start));
            }
            let digits = self.at;
            let number = self.number("the block number", 65_535)?;
            let number = u16::try_from(number)
                .ok()
                .filter(|number| *number > 0)
                .ok_or_else(|| out_of_range(digits..self.at, "the block number", 1, 65_535))?;
            return Ok((Area::Db(number), false));
        }
        for (letter, area) in [
            ("PI", Area::Periphery),
            ("PE", Area::Periphery),
            ("M", Area::Memory),
            ("F", Area::Memory),
            ("I", Area::Input),
            ("E", Area::Input),
            ("Q", Area::Output),
            ("A", Area::Output),
            ("T", Area::Timer),
            ("C", Area::Counter),
            ("Z", Area::Counter),
            ("V", Area::Db(1)),
        ] {
            if self.eat(letter) {
                return Ok((area, letter == "V"));
            }
        }
        Err(unknown_area(self.text, start))
    }

    /// The letters that say how wide the address is, and where they stand.
    pub(super) fn width(
        &mut self,
        area: Area,
        vm: bool,
        start: usize,
    ) -> Result<(Range<usize>, Option<Width>), AddressFault> {
        let mut from = start;
        let block = matches!(area, Area::Db(_)) && !vm;
        if block {
            let block = start..self.at;
            if self.peek() == Some(',') {
                return Err(kepware::fault(self.text, block));
            }
            let dot = self.eat(".");
            from = self.at;
            if !dot || !self.eat("DB") {
                let help = format!("write {area}.DBX2.0, {area}.DBB52, {area}.DBW4 or {area}.DBD8");
                let span = if self.at < self.text.len() { self.at..self.text.len() } else { block };
                return Err(not_an_address(span, "the place in the block is missing", help));
            }
        }
        let area_letters = start..self.at;
        let width = [Width::Bit, Width::Byte, Width::Word, Width::Double]
            .into_iter()
            .find(|width| self.eat(width.letter().encode_utf8(&mut [0; 4])));
        if width.is_none() && block {
            let help = format!("write {area}.DBX2.0, {area}.DBB52, {area}.DBW4 or {area}.DBD8");
            return Err(not_an_address(from..self.text.len(), "X, B, W or D is missing", help));
        }
        if !block && !self.peek().is_some_and(|c| c.is_ascii_digit()) {
            let canonical = if vm { "V".into() } else { area.to_string() };
            if let Some(fault) = kepware::fault_of_letter(self.text, area_letters, &canonical) {
                return Err(fault);
            }
            if width.is_none() {
                return Err(unknown_area(self.text, start));
            }
        }
        Ok((from..self.at, width))
    }

    /// A decimal number up to `max`.
    pub(super) fn number(&mut self, what: &str, max: u32) -> Result<u32, AddressFault> {
        let digits = self.rest().find(|c: char| !c.is_ascii_digit()).unwrap_or(self.rest().len());
        let span = self.at..self.at + digits;
        if digits == 0 {
            let end = self.at + self.peek().map_or(0, char::len_utf8);
            // A caret needs something to stand under: at the end of the text it is the last letter.
            let start = if end == self.at { self.at.saturating_sub(1) } else { self.at };
            return Err(not_an_address(start..end, "number missing", format!("{what} is missing")));
        }
        self.at = span.end;
        self.text[span.clone()]
            .parse()
            .ok()
            .filter(|number| *number <= max)
            .ok_or_else(|| out_of_range(span, what, 0, max))
    }

    /// `.5` behind a bit address.
    pub(super) fn bit(&mut self, width: Option<Width>) -> Result<Option<u8>, AddressFault> {
        let dot = self.at;
        if !self.eat(".") {
            return Ok(None);
        }
        if let Some(width) = width.filter(|width| *width != Width::Bit) {
            return Err(fault(
                "S0208",
                format!("a {}-bit address has no bit number", width.bits()),
                dot..self.text.len(),
                "",
                "leave the bit number out, or write a bit address such as DB10.DBX2.0 or M10.1".into(),
            ));
        }
        let digits = self.at;
        let number = self.number("the bit number", u32::MAX)?;
        match u8::try_from(number) {
            Ok(bit @ 0..=7) => Ok(Some(bit)),
            _ => Err(fault(
                "S0205",
                format!("bit {number} does not exist"),
                digits..self.at,
                "0 to 7",
                "a byte has the bits 0 to 7; bit 8 is bit 0 of the next byte".into(),
            )),
        }
    }
}

fn out_of_range(span: Range<usize>, what: &str, min: u32, max: u32) -> AddressFault {
    let label = format!("{min} to {max}");
    fault("S0206", format!("{what} must be from {min} to {max}"), span, &label, format!("check {what}"))
}

fn unknown_area(address: &str, start: usize) -> AddressFault {
    let rest = &address[start..];
    let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
    let help = match rest[..letters].to_ascii_uppercase().as_str() {
        "P" | "PA" | "PAB" | "PAW" | "PAD" | "PQ" | "PQB" | "PQW" | "PQD" => {
            "of the periphery only inputs can be read, for example PIW256; for outputs use the process image: QW64"
        }
        "DBX" | "DBB" | "DBW" | "DBD" => "say which block: DB10.DBW4",
        _ => "write DB10.DBW4, M10.1, MW10, IW64, QB4, T5 or C5, and VW4 for a LOGO!",
    };
    let end = start + letters.max(rest.chars().next().map_or(0, char::len_utf8));
    fault("S0202", "the area is unknown".into(), start..end, "", help.into())
}
