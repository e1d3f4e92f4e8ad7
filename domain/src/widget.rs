//! The widget of a project: how it looks, what it says, who answers in it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::tool::BusinessHours;
use crate::{AgentId, DomainError, Lang, Timestamp, text};

/// The least contrast of text that most people can read: WCAG 2.2, success criterion 1.4.3.
pub const LEAST_CONTRAST: f64 = 4.5;

/// Most fields of a form.
const MAX_FIELDS: usize = 10;

/// A widget as its project's people set it. Stored as JSON; what is absent there is as [`Default`] has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Widget {
    /// Light or dark.
    pub theme: Theme,
    /// `#RRGGBB`.
    pub primary_color: String,
    /// The corner that it opens in.
    pub position: Position,
    /// What is spoken with visitors whose language is not known.
    pub default_language: WidgetLang,
    /// What it says in each language, where that differs from the catalogue.
    pub texts: BTreeMap<WidgetLang, WidgetTexts>,
    /// Who answers; `None` means the workspace's default agent.
    pub agent_id: Option<AgentId>,
    /// What visitors are asked for.
    pub lead_form: LeadForm,
    /// When people are there; `None` means always.
    pub hours: Option<BusinessHours>,
    /// Whether it names the product that it is made with.
    pub powered_by: bool,
    /// Whether visitors may send files.
    pub attachments: bool,
    /// Whether only users of the site itself are let in, whose ids the site signs.
    pub identity_required: bool,
}

/// Light or dark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Theme {
    /// Dark on light.
    Light,
    /// Light on dark.
    Dark,
    /// As the visitor's system has it.
    Auto,
}

/// The corner that a widget opens in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Position {
    /// Bottom right.
    BottomRight,
    /// Bottom left.
    BottomLeft,
    /// Top right.
    TopRight,
    /// Top left.
    TopLeft,
}

/// The languages that a widget speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WidgetLang {
    /// Spanish.
    Es,
    /// English.
    En,
    /// Portuguese.
    Pt,
}

/// What a widget says in one language; `None` is the catalogue's text.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct WidgetTexts {
    /// At the top.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The first thing that visitors read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub welcome_message: Option<String>,
    /// In the field that they write in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub placeholder: Option<String>,
    /// While nobody is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offline_message: Option<String>,
    /// Above the form that asks who they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lead_form_message: Option<String>,
}

/// A text of a widget: its name, its longest length in characters, and where it is kept.
pub type TextField = (&'static str, usize, fn(&mut WidgetTexts) -> &mut Option<String>);

/// Every text of a widget.
pub const TEXT_FIELDS: [TextField; 5] = [
    ("title", 60, |texts| &mut texts.title),
    ("welcomeMessage", 500, |texts| &mut texts.welcome_message),
    ("placeholder", 100, |texts| &mut texts.placeholder),
    ("offlineMessage", 500, |texts| &mut texts.offline_message),
    ("leadFormMessage", 500, |texts| &mut texts.lead_form_message),
];

/// What visitors are asked for, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LeadForm {
    /// When it is shown.
    pub when: LeadFormWhen,
    /// What it asks for, in order.
    pub fields: Vec<LeadFormField>,
}

/// When a form is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LeadFormWhen {
    /// Not at all.
    Never,
    /// While nobody is there.
    Offline,
    /// Before the first message.
    BeforeChat,
}

/// A field of a form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LeadFormField {
    /// What it asks for.
    pub name: LeadFormFieldName,
    /// Whether the form cannot be sent without it.
    pub required: bool,
}

/// What a field of a form asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LeadFormFieldName {
    /// The visitor's name.
    Name,
    /// The visitor's e-mail address.
    Email,
    /// The visitor's phone number.
    Phone,
    /// Where the visitor works.
    Company,
}

impl WidgetLang {
    /// Every language.
    pub const ALL: [Self; 3] = [Self::Es, Self::En, Self::Pt];

    /// ISO 639-1.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Es => "es",
            Self::En => "en",
            Self::Pt => "pt",
        }
    }
}

impl From<WidgetLang> for Lang {
    fn from(lang: WidgetLang) -> Self {
        match lang {
            WidgetLang::Es => Self::Es,
            WidgetLang::En => Self::En,
            WidgetLang::Pt => Self::Pt,
        }
    }
}

impl Default for Widget {
    fn default() -> Self {
        Self {
            theme: Theme::Auto,
            primary_color: "#1D4ED8".to_owned(),
            position: Position::BottomRight,
            default_language: WidgetLang::Es,
            texts: BTreeMap::new(),
            agent_id: None,
            lead_form: LeadForm::default(),
            hours: None,
            powered_by: true,
            attachments: true,
            identity_required: false,
        }
    }
}

impl Default for LeadForm {
    /// Name and e-mail address, the latter required, while nobody is there.
    fn default() -> Self {
        let field = |name, required| LeadFormField { name, required };
        let fields =
            vec![field(LeadFormFieldName::Name, false), field(LeadFormFieldName::Email, true)];
        Self { when: LeadFormWhen::Offline, fields }
    }
}

impl Widget {
    /// Every text in a language: the project's own, else the catalogue's.
    pub fn texts_in(&self, lang: WidgetLang) -> WidgetTexts {
        let mut own = self.texts.get(&lang).cloned().unwrap_or_default();
        let mut general = catalogue(lang);
        for (_, _, field) in TEXT_FIELDS {
            let text = field(&mut general).take();
            let own = field(&mut own);
            *own = own.take().or(text);
        }
        own
    }

    /// Whether people are there.
    pub fn is_staffed(&self, now: Timestamp) -> bool {
        self.hours.as_ref().is_none_or(|hours| hours.open_at(now))
    }

    /// What its people should think over, each with the field that it is about.
    pub fn warnings(&self) -> Vec<(&'static str, String)> {
        let mut warnings = Vec::new();
        let contrast = contrast_with_white(&self.primary_color);
        if let Some(contrast) = contrast.filter(|contrast| *contrast < LEAST_CONTRAST) {
            let color = &self.primary_color;
            // Rounded down: 4.49 is not to read as 4.5.
            let shown = (contrast * 10.0).floor() / 10.0;
            warnings.push((
                "primaryColor",
                format!("white text on {color} has a contrast of {shown}:1, and many people cannot read it under {LEAST_CONTRAST}:1 (WCAG AA); choose a darker colour"),
            ));
        }
        warnings
    }
}

/// Reads `#RRGGBB` in any case; gives it in upper case.
pub fn color(field: &str, text: &str) -> Result<String, DomainError> {
    let text = text.trim().to_ascii_uppercase();
    if channels(&text).is_some() {
        return Ok(text);
    }
    let message = format!("`{field}` is not a colour; write it like #00AEEF");
    Err(DomainError::invalid(field, message))
}

/// Checks one text; an empty one is as none.
pub fn checked_text(field: &str, text: &str, most: usize) -> Result<Option<String>, DomainError> {
    let text = text::optional(field, text, most)?;
    Ok(Some(text).filter(|text| !text.is_empty()))
}

/// Checks the fields of a form.
pub fn check_form(field: &str, form: &LeadForm) -> Result<(), DomainError> {
    let fields = format!("{field}.fields");
    if form.fields.len() > MAX_FIELDS {
        let message = format!("`{fields}` has more than {MAX_FIELDS} entries");
        return Err(DomainError::invalid(fields, message));
    }
    if form.fields.is_empty() && form.when != LeadFormWhen::Never {
        let message = format!("`{fields}` must have an entry, or `{field}.when` must be never");
        return Err(DomainError::invalid(fields, message));
    }
    for (at, entry) in form.fields.iter().enumerate() {
        if form.fields[..at].iter().any(|other| other.name == entry.name) {
            let path = format!("{fields}[{at}].name");
            let message = format!("`{path}` is asked for already; leave one of the two out");
            return Err(DomainError::invalid(path, message));
        }
    }
    let is_address = |name| matches!(name, LeadFormFieldName::Email | LeadFormFieldName::Phone);
    if form.when != LeadFormWhen::Never && !form.fields.iter().any(|field| is_address(field.name)) {
        let message = format!(
            "`{fields}` must ask for email or phone: without one nobody can answer what is left"
        );
        return Err(DomainError::invalid(fields, message));
    }
    Ok(())
}

/// Contrast of white text on a colour, 1 to 21: relative luminance of sRGB as WCAG 2.2 defines it.
fn contrast_with_white(color: &str) -> Option<f64> {
    let linear = |channel: u8| {
        let part = f64::from(channel) / 255.0;
        if part <= 0.040_45 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) }
    };
    let [red, green, blue] = channels(color)?.map(linear);
    let luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue;
    Some(1.05 / (luminance + 0.05))
}

fn channels(color: &str) -> Option<[u8; 3]> {
    let mut channels = [0; 3];
    hex::decode_to_slice(color.strip_prefix('#')?, &mut channels).ok()?;
    Some(channels)
}

/// What a widget says of itself.
fn catalogue(lang: WidgetLang) -> WidgetTexts {
    let [title, welcome, placeholder, offline, form] = match lang {
        WidgetLang::Es => [
            "Conversemos",
            "¡Hola! ¿En qué te ayudamos?",
            "Escribe tu mensaje…",
            "Ahora no estamos. Déjanos tu mensaje y te responderemos.",
            "Cuéntanos quién eres para poder responderte.",
        ],
        WidgetLang::En => [
            "Let's talk",
            "Hello! How can we help?",
            "Write your message…",
            "We are away now. Leave us a message and we will get back to you.",
            "Tell us who you are so that we can get back to you.",
        ],
        WidgetLang::Pt => [
            "Vamos conversar",
            "Olá! Como podemos ajudar?",
            "Escreva a sua mensagem…",
            "Não estamos agora. Deixe a sua mensagem e responderemos.",
            "Diga-nos quem é para podermos responder.",
        ],
    };
    WidgetTexts {
        title: Some(title.to_owned()),
        welcome_message: Some(welcome.to_owned()),
        placeholder: Some(placeholder.to_owned()),
        offline_message: Some(offline.to_owned()),
        lead_form_message: Some(form.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contrast_is_that_of_wcag() {
        let contrast = |color| (contrast_with_white(color).unwrap() * 100.0).round() / 100.0;
        assert_eq!((contrast("#000000"), contrast("#FFFFFF")), (21.0, 1.0));
        // The grey that WCAG's own examples take for the lightest that passes.
        assert_eq!((contrast("#767676"), contrast("#777777")), (4.54, 4.48));
        let widget = |color: &str| Widget { primary_color: color.to_owned(), ..Widget::default() };
        assert_eq!(widget("#767676").warnings(), []);
        let (field, message) = widget("#777777").warnings().remove(0);
        assert!(field == "primaryColor" && message.contains("4.4:1"), "{message}");
        assert_eq!(Widget::default().warnings(), []);
    }

    #[test]
    fn a_colour_has_six_digits() {
        assert_eq!(color("primaryColor", "#00aeef").unwrap(), "#00AEEF");
        for bad in ["", "#fff", "00AEEF", "#00AEEG", "#00AEEF0", "red"] {
            let refused = color("primaryColor", bad).unwrap_err();
            assert_eq!(refused.field.as_deref(), Some("primaryColor"), "{bad}");
        }
    }

    #[test]
    fn what_is_not_set_is_said_in_the_words_of_the_catalogue() {
        let mut widget = Widget::default();
        let texts = WidgetTexts { title: Some("Funpark".to_owned()), ..WidgetTexts::default() };
        widget.texts.insert(WidgetLang::Pt, texts);
        let texts = widget.texts_in(WidgetLang::Pt);
        assert_eq!(texts.title.as_deref(), Some("Funpark"));
        assert_eq!(texts.welcome_message.as_deref(), Some("Olá! Como podemos ajudar?"));
        for lang in WidgetLang::ALL {
            let mut texts = widget.texts_in(lang);
            assert!(TEXT_FIELDS.iter().all(|(_, _, field)| field(&mut texts).is_some()));
        }
    }

    #[test]
    fn a_stored_widget_reads_although_fields_were_added_since() {
        let widget: Widget = serde_json::from_str("{}").unwrap();
        assert_eq!(widget, Widget::default());
        let stored = serde_json::to_string(&widget).unwrap();
        assert_eq!(serde_json::from_str::<Widget>(&stored).unwrap(), widget);
    }
}
