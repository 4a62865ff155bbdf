# The image of one of Poco's services: its program, and nothing else.
#
# .ci/images builds it: the context holds the program, linked statically, and an empty folder. The base may be any image; the program needs
# nothing of it. No BuildKit is needed.
ARG BASE_IMAGE=scratch
FROM ${BASE_IMAGE}

ARG SERVICE
ARG VERSION=dev
LABEL org.opencontainers.image.title="poco-${SERVICE}" \
      org.opencontainers.image.description="Poco, a platform that runs coding agents: ${SERVICE}" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}"

COPY service /usr/local/bin/poco-service
# Where LOG_TO_FILE writes, an empty folder of the service's user.
COPY --chown=1000:1000 log /var/log/poco

# The same user as executors have, whose workspaces the executor manager prepares.
USER 1000:1000
HEALTHCHECK --interval=3s --timeout=6s --start-period=60s CMD ["/usr/local/bin/poco-service", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/poco-service"]
