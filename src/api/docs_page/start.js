'use strict'
// Shows the description of the server that this page came from, and asks nobody else.
window.ui = SwaggerUIBundle({
  url: 'openapi.json',
  dom_id: '#routes',
  deepLinking: true,
  docExpansion: 'none',
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
  validatorUrl: null,
  presets: [SwaggerUIBundle.presets.apis],
  layout: 'BaseLayout',
})
