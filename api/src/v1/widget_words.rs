//! What the panel and the widget itself are told of a widget in the same words.

use std::collections::BTreeMap;

use domain::tool::BusinessHours;
use domain::widget::{self, LeadForm, LeadFormField, TEXT_FIELDS, Widget, WidgetTexts};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::ToSchema;

use crate::error::ApiResult;
use crate::words::words;

words! {
    /// Light or dark.
    Theme = widget::Theme {
        /// Dark on light.
        Light = "light",
        /// Light on dark.
        Dark = "dark",
        /// As the visitor's system has it.
        Auto = "auto",
    }

    /// The corner that a widget opens in.
    Position = widget::Position {
        /// Bottom right.
        BottomRight = "bottom-right",
        /// Bottom left.
        BottomLeft = "bottom-left",
        /// Top right.
        TopRight = "top-right",
        /// Top left.
        TopLeft = "top-left",
    }

    /// A language of a widget.
    WidgetLang = widget::WidgetLang {
        /// Spanish.
        Es = "es",
        /// English.
        En = "en",
        /// Portuguese.
        Pt = "pt",
    }

    /// When visitors are asked who they are.
    LeadFormWhen = widget::LeadFormWhen {
        /// Not at all.
        Never = "never",
        /// While nobody is there.
        Offline = "offline",
        /// Before the first message.
        BeforeChat = "before-chat",
    }

    /// What a form asks for.
    LeadFormFieldName = widget::LeadFormFieldName {
        /// The visitor's name.
        Name = "name",
        /// The visitor's e-mail address.
        Email = "email",
        /// The visitor's phone number.
        Phone = "phone",
        /// Where the visitor works.
        Company = "company",
    }
}

/// What a widget says, by language.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = WidgetTextsByLanguage)]
pub(super) struct TextsByLanguage {
    /// Spanish.
    #[serde(default)]
    #[schema(required = false)]
    es: TextsView,
    /// English.
    #[serde(default)]
    #[schema(required = false)]
    en: TextsView,
    /// Portuguese.
    #[serde(default)]
    #[schema(required = false)]
    pt: TextsView,
}

/// What a widget says in one language.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schema(as = WidgetTexts)]
pub(super) struct TextsView {
    /// At the top.
    #[serde(default)]
    #[schema(value_type = Option<String>, max_length = 60)]
    title: Text,
    /// The first thing that visitors read.
    #[serde(default)]
    #[schema(value_type = Option<String>, max_length = 500)]
    welcome_message: Text,
    /// In the field that they write in.
    #[serde(default)]
    #[schema(value_type = Option<String>, max_length = 100)]
    placeholder: Text,
    /// While nobody is there.
    #[serde(default)]
    #[schema(value_type = Option<String>, max_length = 500)]
    offline_message: Text,
    /// Above the form that asks who they are.
    #[serde(default)]
    #[schema(value_type = Option<String>, max_length = 500)]
    lead_form_message: Text,
}

/// A text: absent in a change keeps what is there.
#[derive(Debug, Default)]
enum Text {
    #[default]
    Keep,
    Set(Option<String>),
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Option::deserialize(deserializer).map(Self::Set)
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Keep => serializer.serialize_none(),
            Self::Set(text) => text.serialize(serializer),
        }
    }
}

/// What visitors are asked for, and when.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = WidgetLeadForm)]
pub(super) struct LeadFormView {
    #[schema(nullable = false)]
    when: Option<LeadFormWhen>,
    /// In order.
    #[schema(max_items = 10, nullable = false)]
    fields: Option<Vec<LeadFormFieldView>>,
}

/// A field of a form.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = WidgetLeadFormField)]
struct LeadFormFieldView {
    name: LeadFormFieldName,
    /// Whether the form cannot be sent without it.
    #[serde(default)]
    #[schema(required = false)]
    required: bool,
}

/// A week of openings.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = WidgetHours)]
pub(super) struct HoursView {
    /// IANA name.
    #[schema(example = "America/Santiago")]
    time_zone: String,
    /// Openings by day, `mon` to `sun`, each `HH:MM-HH:MM`; a day that is not there is closed.
    #[schema(example = json!({"mon": ["09:00-13:00", "15:00-18:30"]}))]
    days: BTreeMap<String, Vec<String>>,
}

impl TextsByLanguage {
    /// Every text of a widget.
    pub fn of(widget: &Widget) -> Self {
        let texts = |lang| TextsView::from(widget.texts_in(lang));
        let [es, en, pt] = widget::WidgetLang::ALL.map(texts);
        Self { es, en, pt }
    }

    /// Writes the texts that are here.
    pub fn apply(self, all: &mut BTreeMap<widget::WidgetLang, WidgetTexts>) -> ApiResult<()> {
        for (lang, texts) in widget::WidgetLang::ALL.into_iter().zip([self.es, self.en, self.pt]) {
            texts.apply(lang, all.entry(lang).or_default())?;
        }
        all.retain(|_, texts| *texts != WidgetTexts::default());
        Ok(())
    }
}

impl TextsView {
    fn apply(self, lang: widget::WidgetLang, texts: &mut WidgetTexts) -> ApiResult<()> {
        let given = [
            self.title,
            self.welcome_message,
            self.placeholder,
            self.offline_message,
            self.lead_form_message,
        ];
        for ((name, most, field), text) in TEXT_FIELDS.into_iter().zip(given) {
            let Text::Set(text) = text else { continue };
            let path = format!("texts.{}.{name}", lang.code());
            *field(texts) = match text {
                Some(text) => widget::checked_text(&path, &text, most)?,
                None => None,
            };
        }
        Ok(())
    }
}

impl From<WidgetTexts> for TextsView {
    fn from(texts: WidgetTexts) -> Self {
        Self {
            title: Text::Set(texts.title),
            welcome_message: Text::Set(texts.welcome_message),
            placeholder: Text::Set(texts.placeholder),
            offline_message: Text::Set(texts.offline_message),
            lead_form_message: Text::Set(texts.lead_form_message),
        }
    }
}

impl LeadFormView {
    /// Writes what is here.
    pub fn apply(self, form: &mut LeadForm) {
        if let Some(when) = self.when {
            form.when = when.into();
        }
        if let Some(fields) = self.fields {
            let field = |field: LeadFormFieldView| LeadFormField {
                name: field.name.into(),
                required: field.required,
            };
            form.fields = fields.into_iter().map(field).collect();
        }
    }
}

impl From<&LeadForm> for LeadFormView {
    fn from(form: &LeadForm) -> Self {
        let field = |field: &LeadFormField| LeadFormFieldView {
            name: field.name.into(),
            required: field.required,
        };
        Self { when: Some(form.when.into()), fields: Some(form.fields.iter().map(field).collect()) }
    }
}

impl From<&BusinessHours> for HoursView {
    fn from(hours: &BusinessHours) -> Self {
        Self { time_zone: hours.time_zone.clone(), days: hours.days.clone() }
    }
}
