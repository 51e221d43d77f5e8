//! Words of a block's source text (SCL and AWL sources of TIA Portal and STEP 7).

/// One word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// A name, keyword or constant without quotes: `Struct`, `16`, `T#5s`.
    Plain(String),
    /// `"Name"`.
    Quoted(String),
    /// `'text'`.
    Text,
    /// `{ S7_Optimized_Access := 'FALSE' }`, without its braces.
    Attributes(String),
    /// Behind `//` or within `(* *)`.
    Comment(String),
    /// `..`.
    Range,
    /// Any other sign; `:=` is `:` and `=`.
    Sign(char),
}

/// A word and its line, from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// The word.
    pub word: Word,
    /// Line of the file in which it begins.
    pub line: usize,
}

/// Splits a source into words. What is not closed ends with the text.
pub fn tokens(text: &str) -> Vec<Token> {
    let mut found = Vec::new();
    let (mut at, mut line) = (0, 1);
    while let Some(letter) = text[at..].chars().next() {
        let (word, len) = word(&text[at..], letter);
        if let Some(word) = word {
            found.push(Token { word, line });
        }
        line += text[at..at + len].matches('\n').count();
        at += len;
    }
    found
}

/// The word at the beginning of `text`, if there is one, and its length in bytes.
fn word(text: &str, letter: char) -> (Option<Word>, usize) {
    if text.starts_with("//") {
        let len = text.find('\n').unwrap_or(text.len());
        return (Some(Word::Comment(text[2..len].trim().to_owned())), len);
    }
    // `(/* … */)` is TIA's comment in several languages; its first text is taken.
    for (begin, end) in [("(/*", "*/)"), ("(*", "*)"), ("/*", "*/")] {
        if let Some(inner) = text.strip_prefix(begin) {
            let len = inner.find(end).unwrap_or(inner.len());
            let whole = (begin.len() + len + end.len()).min(text.len());
            return (Some(Word::Comment(inner[..len].trim().to_owned())), whole);
        }
    }
    match letter {
        letter if letter.is_whitespace() => (None, letter.len_utf8()),
        '"' => {
            let inner = &text[1..];
            let len = inner.find(['"', '\n']).unwrap_or(inner.len());
            let closed = usize::from(inner[len..].starts_with('"'));
            (Some(Word::Quoted(inner[..len].to_owned())), 1 + len + closed)
        }
        '\'' => (Some(Word::Text), quoted(text)),
        '{' => {
            let len = attributes(text);
            let inner = text[1..len].strip_suffix('}').unwrap_or(&text[1..len]);
            (Some(Word::Attributes(inner.to_owned())), len)
        }
        letter if is_name(letter) => {
            let len = text.find(|c: char| !is_name(c)).unwrap_or(text.len());
            (Some(Word::Plain(text[..len].to_owned())), len)
        }
        '.' if text.starts_with("..") => (Some(Word::Range), 2),
        letter => (Some(Word::Sign(letter)), letter.len_utf8()),
    }
}

fn is_name(letter: char) -> bool {
    letter.is_alphanumeric() || matches!(letter, '_' | '#' | '%' | '$')
}

/// Length of a text in single quotes; `$'` within it is a quote. It ends at the end of its line.
fn quoted(text: &str) -> usize {
    let mut escaped = false;
    for (at, letter) in text.char_indices().skip(1) {
        match letter {
            '\n' => return at,
            '\'' if !escaped => return at + 1,
            _ => escaped = letter == '$' && !escaped,
        }
    }
    text.len()
}

/// Length of a list of attributes; a brace within quotes does not close it.
fn attributes(text: &str) -> usize {
    let mut in_text = false;
    for (at, letter) in text.char_indices() {
        match letter {
            '\'' => in_text = !in_text,
            '}' if !in_text => return at + 1,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_member_is_split() {
        let text = "\"Öl temp\" { A := '}' } : Array[-2..3] of Real := [1.5, 2(0.0)]; // °C\n(* x *) T : Time := T#5s;";
        let words: Vec<Word> = tokens(text).into_iter().map(|token| token.word).collect();
        let plain = |text: &str| Word::Plain(text.into());
        assert_eq!(
            words[..4],
            [
                Word::Quoted("Öl temp".into()),
                Word::Attributes(" A := '}' ".into()),
                Word::Sign(':'),
                plain("Array")
            ]
        );
        assert_eq!(words[4..9], [Word::Sign('['), Word::Sign('-'), plain("2"), Word::Range, plain("3")]);
        assert!(words.contains(&Word::Comment("°C".into())) && words.contains(&Word::Comment("x".into())));
        assert_eq!(tokens(text).last().unwrap().line, 2);
        assert!(words.contains(&plain("T#5s")));
    }

    proptest! {
        #[test]
        fn any_text_ends(text in "[-a-z0-9\"'{}();:=.*/$# \n]{0,300}") {
            let lines = text.matches('\n').count() + 1;
            prop_assert!(tokens(&text).iter().all(|token| token.line <= lines));
        }
    }
}
