# What `cmake --install` puts where: libraries, headers, pkg-config file, CMake package, licence and documents. Every
# path in the installed files is relative, so that the tree can be moved. The programs install beside their targets.
include(CMakePackageConfigHelpers)
set(LATHE_CMAKE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/lathe)

set_target_properties(lathe_shared PROPERTIES EXPORT_NAME shared)
install(TARGETS lathe_shared EXPORT latheTargets
        LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
        INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(TARGETS lathe_static ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(EXPORT latheTargets NAMESPACE lathe:: DESTINATION ${LATHE_CMAKE_DIR})
install(DIRECTORY include/lathe DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")
install(FILES LICENSE NOTICE README.md CHANGELOG.md DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(DIRECTORY docs/ DESTINATION ${CMAKE_INSTALL_DOCDIR} FILES_MATCHING PATTERN "*.md")

# What a program linked with the archive must link too.
set(LATHE_STATIC_NEEDS jansson xxhash pcre2-8 utf8proc z lapacke)
if(LT_WITH_ONEDNN)
  list(APPEND LATHE_STATIC_NEEDS dnnl)
endif()
if(LT_WITH_OPENBLAS)
  list(APPEND LATHE_STATIC_NEEDS openblas)
endif()
list(APPEND LATHE_STATIC_NEEDS ${OpenMP_C_LIB_NAMES} m ${CMAKE_DL_LIBS})
list(TRANSFORM LATHE_STATIC_NEEDS PREPEND -l OUTPUT_VARIABLE lathe_flags_private)
list(JOIN lathe_flags_private " " LATHE_PC_PRIVATE)
list(JOIN LATHE_STATIC_NEEDS " " LATHE_STATIC_NEEDS)
set(LATHE_PC_CFLAGS "")
set(LATHE_PUBLIC_DEFINITIONS "")
if(LT_REAL STREQUAL double)
  set(LATHE_PC_CFLAGS " -DLT_REAL_IS_DOUBLE")
  set(LATHE_PUBLIC_DEFINITIONS LT_REAL_IS_DOUBLE)
endif()

file(RELATIVE_PATH LATHE_PC_TO_PREFIX /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
string(REGEX REPLACE "/$" "" LATHE_PC_TO_PREFIX "${LATHE_PC_TO_PREFIX}")
configure_file(scripts/lathe.pc.in lathe.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/lathe.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

configure_package_config_file(scripts/latheConfig.cmake.in latheConfig.cmake INSTALL_DESTINATION ${LATHE_CMAKE_DIR}
                              PATH_VARS CMAKE_INSTALL_LIBDIR CMAKE_INSTALL_INCLUDEDIR)
write_basic_package_version_file(latheConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/latheConfig.cmake ${PROJECT_BINARY_DIR}/latheConfigVersion.cmake
        DESTINATION ${LATHE_CMAKE_DIR})
