//! The rows of the table of options ([`Options::ROWS`]) as arguments, for commands that take some of them.

use crate::named::Named;
use crate::train::options::{Form, Options, Row};
use clap::builder::{PossibleValue, PossibleValuesParser, StringValueParser, TypedValueParser, ValueParser};
use clap::{Arg, ArgAction, ArgMatches, Command, FromArgMatches};
use std::marker::PhantomData;

/// An argument made of a row.
pub(super) struct Taken {
    row: &'static Row,
    about: &'static str,
    heading: Option<&'static str>,
    fallback: Fallback,
}

/// What a command does where the argument is absent.
enum Fallback {
    /// Leaves it absent: what then holds, in words.
    Words(Option<String>),
    /// Takes a value.
    Value(&'static str),
}

/// The row `name`, for a command that has no default of its own for it.
pub(super) fn take(name: &str) -> Taken {
    let row = Options::row(name);
    Taken { row, about: row.about, heading: None, fallback: Fallback::Words(None) }
}

impl Taken {
    /// With the row's default and its part of help.
    fn whole(row: &'static Row) -> Taken {
        let fallback = Fallback::Words(row.fallback.in_words());
        Taken { row, about: row.about, heading: Some(row.heading), fallback }
    }

    /// Says something else of it.
    pub(super) fn about(self, about: &'static str) -> Taken {
        Taken { about, ..self }
    }

    /// In this part of help.
    pub(super) fn heading(self, heading: &'static str) -> Taken {
        Taken { heading: Some(heading), ..self }
    }

    /// What holds where it is absent, in words.
    pub(super) fn or(self, words: impl Into<String>) -> Taken {
        Taken { fallback: Fallback::Words(Some(words.into())), ..self }
    }

    /// The row's default holds where it is absent.
    pub(super) fn or_default(self) -> Taken {
        let words = self.row.fallback.in_words().unwrap_or_default();
        self.or(words)
    }

    /// This value where it is absent.
    pub(super) fn or_value(self, value: &'static str) -> Taken {
        Taken { fallback: Fallback::Value(value), ..self }
    }

    /// The row's default, as a value, where it is absent.
    pub(super) fn or_default_value(self) -> Taken {
        let value = self.row.fallback.value().expect("a row with a value");
        self.or_value(value)
    }

    fn arg(&self) -> Arg {
        let row = self.row;
        let mut about = self.about.trim().to_owned();
        if let Fallback::Words(Some(words)) = &self.fallback {
            about += &format!(" [default: {words}]");
        }
        let choices = (row.choices)();
        let parser: ValueParser = if choices.is_empty() {
            let check = row.check;
            StringValueParser::new().try_map(move |text| check(&text).map(|()| text)).into()
        } else {
            let choice = |c: &crate::train::options::Choice| PossibleValue::new(c.name).help(c.about);
            PossibleValuesParser::new(choices.iter().map(choice)).into()
        };
        let arg = Arg::new(row.field).long(row.name()).help(about).value_name(row.value_name).value_parser(parser);
        let arg = match row.form {
            Form::One => arg,
            Form::List => arg.value_delimiter(',').action(ArgAction::Append),
            Form::Switch => arg
                .num_args(0..=1)
                .require_equals(true)
                .default_missing_value("true")
                .value_parser(PossibleValuesParser::new(["true", "false"]))
                .hide_possible_values(true),
        };
        let arg = match self.fallback {
            Fallback::Value(value) => arg.default_value(value),
            Fallback::Words(_) => arg,
        };
        match self.heading {
            Some(heading) => arg.help_heading(heading),
            None => arg,
        }
    }
}

/// Which rows a command takes.
pub(super) trait Selection {
    /// They, in the order of help.
    fn rows() -> Vec<Taken>;
}

/// All of them, with the table's defaults.
pub(super) struct All;

impl Selection for All {
    fn rows() -> Vec<Taken> {
        Options::ROWS.iter().map(Taken::whole).collect()
    }
}

/// The options of the selected rows, as the command line sets them.
pub(super) struct Selected<S: Selection> {
    pub(super) options: Options,
    selection: PhantomData<S>,
}

impl<S: Selection> clap::Args for Selected<S> {
    fn augment_args(command: Command) -> Command {
        S::rows().iter().fold(command, |command, taken| command.arg(taken.arg()))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<S: Selection> FromArgMatches for Selected<S> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut selected = Selected { options: Options::default(), selection: PhantomData };
        selected.update_from_arg_matches(matches)?;
        Ok(selected)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for Taken { row, .. } in S::rows() {
            for text in matches.get_many::<String>(row.field).into_iter().flatten() {
                let refused = |what| clap::Error::raw(clap::error::ErrorKind::ValueValidation, what);
                self.options.add(row, text).map_err(refused)?;
            }
        }
        Ok(())
    }
}

/// Takes one of the values of `T` by its name.
pub(super) fn named<T: Named>() -> impl TypedValueParser<Value = T> {
    let values = T::ALL.iter().map(|v| PossibleValue::new(v.name()).help(v.about()));
    PossibleValuesParser::new(values).map(|name| T::by_name(&name).expect("one of the names"))
}
