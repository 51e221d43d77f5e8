//! From words to declarations: data blocks, PLC data types and their members.

use super::lexer::{Token, Word, tokens};
use crate::import::report::Refusal;

/// Deepest nesting of structures and arrays in one declaration.
const DEPTH_MAX: usize = 24;

/// Most dimensions of an array (TIA Portal: six).
const DIMENSIONS_MAX: usize = 6;

/// Most members of a source, those of `a, b : Struct …` counted for each name.
const MEMBERS_MAX: usize = 200_000;

/// What a member is.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// `Bool`, `String[16]`, `IEC_TIMER`: the name in capitals, and a length.
    Named(String, Option<u32>),
    /// `"UDT_Motor"`.
    Udt(String),
    /// `Struct … END_STRUCT`.
    Struct(Vec<Member>),
    /// `Array[1..4, 0..2] of …`.
    Array(Vec<(i64, i64)>, Box<Kind>),
}

/// One member of a structure.
#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    /// Name without quotes.
    pub name: String,
    /// Line of the file.
    pub line: usize,
    /// What it is.
    pub kind: Kind,
    /// Comment in its line.
    pub comment: String,
}

/// What a data block or a PLC data type consists of.
#[derive(Debug, Clone, PartialEq)]
pub struct Block {
    /// Name without quotes, or `DB10`.
    pub name: String,
    /// Line of its head.
    pub line: usize,
    /// `S7_Optimized_Access`: `None` when the source does not say.
    pub optimized: Option<bool>,
    /// Its members, or the type that it is an instance of.
    pub layout: Kind,
}

/// The blocks of a source.
#[derive(Debug, Default)]
pub struct Source {
    /// `DATA_BLOCK`.
    pub blocks: Vec<Block>,
    /// `TYPE`.
    pub types: Vec<Block>,
    /// Names of `FUNCTION_BLOCK`s, whose instances have no layout of their own.
    pub functions: Vec<String>,
}

/// Reads a source.
///
/// # Errors
/// A declaration cannot be understood: line and [`Refusal`].
pub fn parse(text: &str) -> Result<Source, (usize, Refusal)> {
    let words = tokens(text);
    let mut reader = Reader { words: &words, at: 0, made: 0 };
    let mut source = Source::default();
    while let Some(token) = reader.next() {
        let Word::Plain(word) = &token.word else { continue };
        match word.to_ascii_uppercase().as_str() {
            "DATA_BLOCK" => source.blocks.push(reader.block(token.line, "END_DATA_BLOCK")?),
            "TYPE" => source.types.push(reader.block(token.line, "END_TYPE")?),
            "FUNCTION_BLOCK" => {
                source.functions.extend(reader.block_name());
                reader.skip_to("END_FUNCTION_BLOCK");
            }
            _ => {}
        }
    }
    Ok(source)
}

struct Reader<'a> {
    words: &'a [Token],
    at: usize,
    /// Members so far.
    made: usize,
}

impl<'a> Reader<'a> {
    /// The next word that is no comment.
    fn next(&mut self) -> Option<&'a Token> {
        while let Some(token) = self.words.get(self.at) {
            self.at += 1;
            if !matches!(token.word, Word::Comment(_)) {
                return Some(token);
            }
        }
        None
    }

    /// The next word that is no comment, which stays the next one.
    fn peek(&self) -> Option<&'a Token> {
        self.words[self.at.min(self.words.len())..]
            .iter()
            .find(|token| !matches!(token.word, Word::Comment(_)))
    }

    /// Takes the next word if it is this sign.
    fn eat(&mut self, sign: char) -> bool {
        let found = self.peek().is_some_and(|token| token.word == Word::Sign(sign));
        if found {
            self.next();
        }
        found
    }

    /// The next word as a keyword in capitals; empty when it is none.
    fn keyword(&self) -> String {
        match self.peek().map(|token| &token.word) {
            Some(Word::Plain(word)) => word.to_ascii_uppercase(),
            _ => String::new(),
        }
    }

    fn line(&self) -> usize {
        let last = self.words.get(self.at.saturating_sub(1)).or(self.words.last());
        self.peek().or(last).map_or(1, |token| token.line)
    }

    fn fault(&self, what: impl Into<String>) -> (usize, Refusal) {
        let fix = "export the block again: right-click, Generate source from blocks";
        (self.line(), Refusal::new("I0011", what, fix))
    }

    fn too_deep(&self) -> (usize, Refusal) {
        let what = format!("structures are nested more than {DEPTH_MAX} deep");
        (self.line(), Refusal::new("I0005", what, "make the block flatter"))
    }

    fn skip_to(&mut self, end: &str) {
        while let Some(token) = self.next() {
            if matches!(&token.word, Word::Plain(word) if word.eq_ignore_ascii_case(end)) {
                break;
            }
        }
    }

    /// The comment behind what was just read, in the same line.
    fn comment(&self, line: usize) -> String {
        let behind = self.words.get(self.at).filter(|token| token.line == line);
        match behind.map(|token| &token.word) {
            Some(Word::Comment(text)) => text.clone(),
            _ => String::new(),
        }
    }

    /// `"Name"`, `DB10` or `DB 10`.
    fn block_name(&mut self) -> Option<String> {
        match &self.next()?.word {
            Word::Quoted(name) => Some(name.clone()),
            Word::Plain(word) if ["DB", "FB", "UDT"].iter().any(|kind| word.eq_ignore_ascii_case(kind)) => {
                let number = self.keyword();
                self.next();
                Some(format!("{}{number}", word.to_ascii_uppercase()))
            }
            Word::Plain(word) => Some(word.clone()),
            _ => None,
        }
    }

    /// From behind `DATA_BLOCK` or `TYPE` to its end.
    fn block(&mut self, line: usize, end: &str) -> Result<Block, (usize, Refusal)> {
        let name = self.block_name().ok_or_else(|| self.fault("the block has no name"))?;
        let mut block = Block { name, line, optimized: None, layout: Kind::Struct(Vec::new()) };
        let mut members: Vec<Member> = Vec::new();
        let mut instance = None;
        loop {
            let Some(token) = self.peek() else { return Err(self.fault(format!("{end} is missing"))) };
            let word = self.keyword();
            match (&token.word, word.as_str()) {
                (Word::Attributes(text), _) => block.optimized = optimized(text).or(block.optimized),
                (_, "BEGIN") => {
                    // What follows is initial values.
                    self.skip_to(end);
                    break;
                }
                (_, word) if word == end => {
                    self.next();
                    break;
                }
                (_, "STRUCT") => {
                    self.next();
                    members.extend(self.members(0, &["END_STRUCT"])?);
                    continue;
                }
                (_, "VAR") => {
                    self.next();
                    while matches!(self.keyword().as_str(), "RETAIN" | "NON_RETAIN" | "PERSISTENT") {
                        self.next();
                    }
                    members.extend(self.members(0, &["END_VAR"])?);
                    continue;
                }
                (_, "TITLE" | "VERSION" | "AUTHOR" | "FAMILY" | "NAME") => {
                    self.header_line(token.line);
                    continue;
                }
                (Word::Quoted(name), _) => instance = Some(Kind::Udt(name.clone())),
                (Word::Plain(word), _) if is_instance(word) => {
                    instance = Some(Kind::Named(word.to_ascii_uppercase(), None))
                }
                _ => {}
            }
            self.next();
        }
        block.layout = match instance {
            Some(instance) if members.is_empty() => instance,
            _ => Kind::Struct(members),
        };
        Ok(block)
    }

    /// `TITLE = …`, `VERSION : 0.1`: to the end of the line.
    fn header_line(&mut self, line: usize) {
        // The word itself, with the comments before it: they may stand in other lines.
        self.next();
        while self.words.get(self.at).is_some_and(|token| token.line == line) {
            self.at += 1;
        }
    }

    /// Members up to one of the words in `ends`, which is taken with what closes it.
    fn members(&mut self, depth: usize, ends: &[&str]) -> Result<Vec<Member>, (usize, Refusal)> {
        if depth > DEPTH_MAX {
            return Err(self.too_deep());
        }
        let mut members = Vec::new();
        loop {
            if ends.contains(&self.keyword().as_str()) {
                self.next();
                self.eat(';');
                return Ok(members);
            }
            if self.eat(';') {
                continue;
            }
            members.extend(self.member(depth)?);
        }
    }

    /// `a, b { … } : Type := 5;   // comment`.
    fn member(&mut self, depth: usize) -> Result<Vec<Member>, (usize, Refusal)> {
        let mut names = Vec::new();
        loop {
            let Some(token) = self.next() else { return Err(self.fault("the declaration has no end")) };
            match &token.word {
                Word::Plain(name) | Word::Quoted(name) => {
                    names.push((name.trim_start_matches('#').to_owned(), token.line))
                }
                _ => return Err((token.line, self.fault("a name is expected here").1)),
            }
            self.attributes();
            if !self.eat(',') {
                break;
            }
        }
        if !self.eat(':') || self.eat('=') {
            return Err(self.fault(format!("a colon and a type are missing behind `{}`", names[0].0)));
        }
        let line = self.line();
        let head = self.at;
        let kind = self.kind(depth)?;
        self.attributes();
        // Initial values, whatever they are; names that follow without a semicolon are not eaten.
        if self.eat(':') {
            self.initial();
        }
        let mut comment = String::new();
        if self.eat(';') {
            comment = self.comment(self.words[self.at - 1].line);
        }
        if comment.is_empty() && !matches!(kind, Kind::Named(..)) {
            // The comment of a structure stands behind `Struct`.
            let behind = self.words[head..].iter().take_while(|token| token.line == line);
            comment = behind
                .filter_map(|token| match &token.word {
                    Word::Comment(text) => Some(text.clone()),
                    _ => None,
                })
                .next()
                .unwrap_or_default();
        }
        // A structure that several names share is there once for each.
        self.made = self.made.saturating_add(names.len().saturating_mul(weight(&kind)));
        if self.made > MEMBERS_MAX {
            let what = format!("the source has more than {MEMBERS_MAX} members");
            return Err((line, Refusal::new("I0005", what, "generate the source of one block only")));
        }
        Ok(names
            .into_iter()
            .map(|(name, line)| Member { name, line, kind: kind.clone(), comment: comment.clone() })
            .collect())
    }

    fn attributes(&mut self) {
        while self.peek().is_some_and(|token| matches!(token.word, Word::Attributes(_))) {
            self.next();
        }
    }

    fn initial(&mut self) {
        while let Some(token) = self.peek() {
            let word = self.keyword();
            if token.word == Word::Sign(';') || word.starts_with("END_") {
                return;
            }
            self.next();
        }
    }

    fn kind(&mut self, depth: usize) -> Result<Kind, (usize, Refusal)> {
        if depth > DEPTH_MAX {
            return Err(self.too_deep());
        }
        let Some(token) = self.next() else { return Err(self.fault("a type is missing")) };
        let word = match &token.word {
            Word::Quoted(name) => return Ok(Kind::Udt(name.clone())),
            Word::Plain(word) => word.to_ascii_uppercase(),
            _ => return Err((token.line, self.fault("a type is expected here").1)),
        };
        match word.as_str() {
            "STRUCT" => Ok(Kind::Struct(self.members(depth + 1, &["END_STRUCT"])?)),
            "ARRAY" => {
                let bounds = self.bounds()?;
                if self.keyword() != "OF" {
                    return Err(self.fault("`of` is missing behind the bounds of the array"));
                }
                self.next();
                Ok(Kind::Array(bounds, Box::new(self.kind(depth + 1)?)))
            }
            "UDT" => {
                let number = self.keyword();
                self.next();
                Ok(Kind::Udt(format!("UDT{number}")))
            }
            _ => {
                let len = if self.eat('[') || self.eat('(') { Some(self.length()?) } else { None };
                Ok(Kind::Named(word, len))
            }
        }
    }

    /// `16]` behind `String[`.
    fn length(&mut self) -> Result<u32, (usize, Refusal)> {
        let len =
            u32::try_from(self.bound()?).map_err(|_| self.fault("the length of the text is no number"))?;
        if self.eat(']') || self.eat(')') { Ok(len) } else { Err(self.fault("`]` is missing")) }
    }

    /// `[1..4, 0..2]`.
    fn bounds(&mut self) -> Result<Vec<(i64, i64)>, (usize, Refusal)> {
        if !self.eat('[') {
            return Err(self.fault("an array needs its bounds: Array[1..4] of Real"));
        }
        let mut bounds = Vec::new();
        loop {
            let low = self.bound()?;
            if self.next().map(|token| &token.word) != Some(&Word::Range) {
                return Err(self.fault("an array needs its bounds: Array[1..4] of Real"));
            }
            let high = self.bound()?;
            if low > high || bounds.len() == DIMENSIONS_MAX {
                return Err(self.fault(format!("an array cannot have the bounds {low}..{high}")));
            }
            bounds.push((low, high));
            if self.eat(']') {
                return Ok(bounds);
            }
            if !self.eat(',') {
                return Err(self.fault("`]` is missing behind the bounds of the array"));
            }
        }
    }

    fn bound(&mut self) -> Result<i64, (usize, Refusal)> {
        let negative = self.eat('-');
        let Some(token) = self.next() else { return Err(self.fault("a number is missing")) };
        let (Word::Plain(text) | Word::Quoted(text)) = &token.word else {
            return Err((token.line, self.fault("a number is expected here").1));
        };
        let number = text.parse::<i32>().map_err(|_| {
            let what = format!("the constant `{text}` stands where a number is needed");
            (token.line, Refusal::new("I0011", what, "write its value into a copy of the file"))
        })?;
        Ok(if negative { -i64::from(number) } else { i64::from(number) })
    }
}

/// Members in a type, itself included.
fn weight(kind: &Kind) -> usize {
    match kind {
        Kind::Named(..) | Kind::Udt(_) => 1,
        Kind::Array(_, of) => 1 + weight(of),
        Kind::Struct(members) => 1 + members.iter().map(|member| weight(&member.kind)).sum::<usize>(),
    }
}

/// What the attributes say about optimised access.
fn optimized(attributes: &str) -> Option<bool> {
    let plain: String =
        attributes.chars().filter(|c| !c.is_whitespace()).collect::<String>().to_ascii_uppercase();
    let at = plain.find("S7_OPTIMIZED_ACCESS:='")?;
    Some(plain[at..].starts_with("S7_OPTIMIZED_ACCESS:='TRUE'"))
}

/// True for a word in a block's head that names a type: not `NON_RETAIN` and the like.
fn is_instance(word: &str) -> bool {
    ["IEC_", "TON", "TOF", "TP", "CTU", "CTD", "UDT", "FB", "SFB"]
        .iter()
        .any(|begin| word.get(..begin.len()).is_some_and(|head| head.eq_ignore_ascii_case(begin)))
}
