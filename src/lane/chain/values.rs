//! The values of a batch, each coded against the value of its tag before.

use std::borrow::Cow;

use forebay_connector::Value;

use super::bits::Coder;
use super::device::{Device, Meaning, Tag};
use super::form;
use super::model::{Number, unzigzag, zigzag};
use super::record::{Context, Only, blank};
use crate::batch::Sample;
use crate::lane::codec::{put_elements, take_elements};

/// Texts of a device that can come back by their place.
const TEXTS_MAX: usize = 64;
/// Longer texts are written each time.
const KEPT_TEXT_BYTES_MAX: usize = 128;
/// Bits that say a form.
const FORM_BITS: u32 = 7;
/// Bits that a first value takes beside its number: form, and the number's length.
const FIRST_BITS: usize = 14;
/// Form and number that a reader has before it reads.
const UNKNOWN: (u8, i64) = (form::COLD, 0);

/// Of a reader, `samples` is empty unless something was already read of each: then only those that
/// are wanted are made. `false` when the values behind the last wanted one were passed over.
pub(super) fn code_values<C: Coder>(
    coder: &mut C,
    device: &mut Device,
    context: &mut Context<'_>,
    samples: &mut Vec<Sample>,
) -> Option<bool> {
    let (same, changed) = choose_all::<C>(device, context, samples)?;
    // All forms as before, so none is said.
    let same = coder.bit(same)?;
    // When only changes are published, "as before" is never said and needs no code.
    let changed = coder.bit(changed)?;
    let Device { tags, tags_before, texts, text, length, passed_from, ascending, .. } = device;
    let Context { meaning, only, chosen, first_bits, .. } = context;
    let end = only.end.filter(|_| *ascending && !C::WRITES).unwrap_or(u32::MAX);
    let known_to = passed_from.unwrap_or(u32::MAX);
    let stale = passed_from.is_some();
    let mut all =
        Values { tags, texts, text, length, meaning, only: *only, first_bits, same, changed, stale };
    if samples.is_empty() {
        for tag in tags_before {
            if *tag >= end {
                *passed_from = Some(known_to.min(end));
                return Some(false);
            }
            if *tag >= known_to {
                return None;
            }
            let (form, number) = all.code_number(coder, *tag, UNKNOWN)?;
            let wanted = all.wants::<C>(*tag);
            if wanted || form::has_bytes(form) {
                let mut sample = Sample { tag: *tag, ..blank() };
                all.code_value(coder, (form, number), &mut sample, wanted)?;
                if wanted {
                    samples.push(sample);
                }
            }
        }
        return Some(true);
    }
    for (at, sample) in samples.iter_mut().enumerate() {
        if sample.tag >= end {
            *passed_from = Some(known_to.min(end));
            return Some(false);
        }
        if sample.tag >= known_to {
            return None;
        }
        let chosen = if C::WRITES { *chosen.get(at)? } else { UNKNOWN };
        let coded = all.code_number(coder, sample.tag, chosen)?;
        let wanted = all.wants::<C>(sample.tag);
        all.code_value(coder, coded, sample, wanted)?;
    }
    Some(true)
}

/// What the values of one batch are coded with.
struct Values<'a> {
    tags: &'a mut Vec<Tag>,
    texts: &'a mut Vec<Box<str>>,
    text: &'a mut Number,
    length: &'a mut Number,
    meaning: &'a Meaning,
    only: Only<'a>,
    first_bits: &'a mut usize,
    /// All forms are as before.
    same: bool,
    /// All values are other ones than before.
    changed: bool,
    /// Values were passed over, perhaps texts, which all tags of a device have in common.
    stale: bool,
}

impl Values<'_> {
    #[inline]
    fn code_number<C: Coder>(&mut self, coder: &mut C, tag: u32, chosen: (u8, i64)) -> Option<(u8, i64)> {
        let tag = self.tags.get_mut(usize::try_from(tag).ok()?)?;
        if self.same || (!tag.is_cold() && !coder.bit(chosen.0 != tag.form)?) {
            return Some((tag.form, code_next(coder, tag, self.changed, chosen.1)?));
        }
        code_first(coder, tag, chosen, self.first_bits)
    }

    /// Whether a value must be made.
    fn wants<C: Coder>(&self, tag: u32) -> bool {
        let index = usize::try_from(tag).unwrap_or(usize::MAX);
        !C::WRITES && self.only.tags.is_none_or(|wanted| wanted.get(index) == Some(&true))
    }

    fn code_value<C: Coder>(
        &mut self,
        coder: &mut C,
        (form, number): (u8, i64),
        sample: &mut Sample,
        wanted: bool,
    ) -> Option<()> {
        let value = &mut sample.value;
        match form {
            form::TEXT | form::ARRAY if self.stale => return None,
            form::TEXT => code_text(coder, self.text, self.length, self.texts, value, wanted)?,
            form::ARRAY => code_array(coder, self.length, value, wanted)?,
            _ if wanted => *value = form::value_of(number, form, self.meaning.linear(sample.tag))?,
            _ => {}
        }
        Some(())
    }
}

/// What the writer is going to write: form and number of each sample, and whether all forms are as
/// before and all values new. The reader has nothing yet.
fn choose_all<C: Coder>(
    device: &mut Device,
    context: &mut Context<'_>,
    samples: &[Sample],
) -> Option<(bool, bool)> {
    context.chosen.clear();
    if !C::WRITES {
        return Some((false, false));
    }
    // A tag that stands twice in a batch is not compared with what it was before the batch.
    let mut changed = samples.windows(2).all(|pair| pair[0].tag < pair[1].tag);
    let mut same = true;
    for sample in samples {
        let tag = device.tag(sample.tag)?;
        let (form, number) = tag.choose(&sample.value, context.meaning.linear(sample.tag));
        context.chosen.push((form, number));
        same &= form == tag.form;
        changed &= number != tag.last || form != tag.form || form::has_bytes(form);
    }
    Some((same, changed))
}

/// A value whose form is that of the tag's value before.
#[inline]
fn code_next<C: Coder>(coder: &mut C, tag: &mut Tag, changed: bool, number: i64) -> Option<i64> {
    let number = match tag.form {
        form::NULL | form::TEXT | form::ARRAY => return Some(0),
        form::BOOL if changed => tag.last ^ 1,
        form::BOOL => i64::from(coder.bit(number != tag.last)?) ^ tag.last,
        _ => {
            let predicted = tag.predicted();
            let never_zero = u64::from(changed && predicted == tag.last);
            let error = zigzag(number.wrapping_sub(predicted)).wrapping_sub(never_zero);
            let model = &mut tag.residual[usize::from(tag.steps())];
            let error = coder.number(model, error)?.wrapping_add(never_zero);
            predicted.wrapping_add(unzigzag(error))
        }
    };
    tag.learn(number);
    Some(number)
}

/// The first value of a tag in a chain, or one of another form than the value before.
fn code_first<C: Coder>(
    coder: &mut C,
    tag: &mut Tag,
    (form, number): (u8, i64),
    first_bits: &mut usize,
) -> Option<(u8, i64)> {
    let was_cold = tag.is_cold();
    let form = u8::try_from(coder.raw(FORM_BITS, u64::from(form))?).ok()?;
    tag.form = form;
    if form::has_bytes(form) {
        return Some((form, 0));
    }
    let number = coder.wide_signed(number)?;
    if form == form::BOOL && number >> 1 != 0 {
        return None;
    }
    if was_cold {
        *first_bits += FIRST_BITS + (u64::BITS - zigzag(number).leading_zeros()) as usize;
    }
    (tag.last, tag.step) = (number, 0);
    Some((form, number))
}

/// Texts come back: the place of the text from the end of those seen last, 0 for a new one.
fn code_text<C: Coder>(
    coder: &mut C,
    model: &mut Number,
    length: &mut Number,
    texts: &mut Vec<Box<str>>,
    value: &mut Value,
    wanted: bool,
) -> Option<()> {
    let written = match &*value {
        Value::Text(text) if C::WRITES => text.as_ref(),
        _ => "",
    };
    let known = if C::WRITES { texts.iter().rev().position(|known| **known == *written) } else { None };
    let back = usize::try_from(coder.number(model, known.map_or(0, |back| back as u64 + 1))?).ok()?;
    let text: Box<str> = if back == 0 {
        String::from_utf8(coder.bytes(length, written.as_bytes())?).ok()?.into()
    } else {
        texts.remove(texts.len().checked_sub(back)?)
    };
    if wanted {
        *value = Value::Text(text.clone());
    }
    if text.len() <= KEPT_TEXT_BYTES_MAX {
        if texts.len() == TEXTS_MAX {
            texts.remove(0);
        }
        texts.push(text);
    }
    Some(())
}

fn code_array<C: Coder>(coder: &mut C, length: &mut Number, value: &mut Value, wanted: bool) -> Option<()> {
    let written = match &*value {
        Value::Array(elements) if C::WRITES => {
            let mut bytes = Vec::new();
            put_elements(&mut bytes, elements);
            Cow::Owned(bytes)
        }
        _ => Cow::Borrowed(&[][..]),
    };
    let bytes = coder.bytes(length, &written)?;
    if wanted {
        *value = take_elements(&bytes)?;
    }
    Some(())
}
